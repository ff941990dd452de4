"""Sessions that really run, on the CPU, and say that they are on the GPU provider asked for."""

import threading

import onnxruntime

from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest


def opened(name, bundle, *, manifest=None, device=0, streams=1):
    manifest = manifest or read_manifest(bundle)
    return open_backend(name, bundle, manifest, device=device, threads=1, streams=streams)


class Gpu:
    """What the doubles of a test have in common.

    Attributes:
        sessions: all that were opened, in order, with what they were told and did.
        on_open: called with each before it is opened; raises to refuse.
        on_run: called with each before it runs; raises to fail.
    """

    def __init__(self):
        self.sessions = []
        self.on_open = self.on_run = lambda session: None


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
