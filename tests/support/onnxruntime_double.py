"""ONNX Runtime sessions that run on the CPU but report the requested GPU provider."""

import threading

import numpy as np
import onnxruntime
import pytest

from engine.backends.onnxruntime import cuda_backend
from engine.backends.onnxruntime.cuda_backend import OnnxRuntimeCudaBackend
from engine.bundle.manifest import read_manifest


def opened(bundle, backend=OnnxRuntimeCudaBackend, *, manifest=None, device=0, streams=1):
    manifest = manifest or read_manifest(bundle)
    return backend(bundle, manifest, device=device, threads=1, streams=streams)


class Gpu:
    """Observes the sessions of a test.

    Attributes:
        sessions: all opened sessions, in order, with their arguments and runs.
        on_open: called with each session before it is opened; may raise.
        on_run: called with each session before it runs; may raise.
    """

    def __init__(self):
        self.sessions = []
        self.on_open = self.on_run = lambda session: None


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    providers = ["NvTensorRTRTXExecutionProvider", "TensorrtExecutionProvider"]
    providers += ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session_class(gpu))
    monkeypatch.setattr(cuda_backend, "_gpu_count", lambda: 4)
    monkeypatch.setattr(OnnxRuntimeCudaBackend, "memory", "cpu")
    return gpu


@pytest.fixture
def pair_of(rng):
    def pair_of(height, width, batch=1):
        return rng.integers(0, 256, (2, batch, height, width, 3), dtype=np.uint8)

    return pair_of


def session_class(gpu):
    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, settings, *, providers, enable_fallback):
            ((self.provider, self.options),) = providers
            self.settings, self.runs = settings, []
            assert not enable_fallback
            gpu.on_open(self)
            gpu.sessions.append(self)
            on_cpu = onnxruntime.SessionOptions()
            on_cpu.intra_op_num_threads = 1
            super().__init__(path, on_cpu, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return [self.provider, "CPUExecutionProvider"]

        def run_with_iobinding(self, iobinding, run_options=None):
            assert run_options is None
            gpu.on_run(self)
            (flow,) = iobinding.get_outputs()
            self.runs.append((tuple(flow.shape()), flow.data_ptr(), threading.get_ident()))
            super().run_with_iobinding(iobinding)

        @property
        def shapes(self):
            return [shape for shape, _, _ in self.runs]

        @property
        def has_graphs(self):
            (value,) = [value for key, value in self.options.items() if "graph" in key]
            return value

    return Session
