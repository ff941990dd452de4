"""ONNX Runtime, on the CPU and through its GPU providers."""
