"""From weights to a bundle: ONNX, TensorRT plans, and the proof that they compute the same flow."""
