"""Fixtures of the tests of ONNX Runtime's GPU backends."""

import numpy as np
import onnxruntime
import pytest

from engine.backends.onnxruntime import cuda as onnxruntime_cuda
from engine.backends.onnxruntime.cuda import OnnxRuntimeCudaBackend
from tests.engine.onnxruntime_double import Gpu, session_class


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    providers = ["NvTensorRTRTXExecutionProvider", "TensorrtExecutionProvider"]
    providers += ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session_class(gpu))
    monkeypatch.setattr(onnxruntime_cuda, "_gpu_count", lambda: 4)
    monkeypatch.setattr(OnnxRuntimeCudaBackend, "memory", "cpu")
    return gpu


@pytest.fixture
def pair_of(rng):
    def pair_of(height, width, batch=1):
        return rng.integers(0, 256, (2, batch, height, width, 3), dtype=np.uint8)

    return pair_of
