"""Fixtures of the tests of ONNX Runtime on GPUs."""

from tests.support.onnxruntime_double import gpu, pair_of

__all__ = ["gpu", "pair_of"]
