"""From weights to a bundle: ONNX, TensorRT plans, and the proof that they compute the same flow."""

import engine  # noqa: F401  # first: it handles Ctrl-C while the rest is imported
