"""The engine as a contestant, and its runtimes without it."""

import importlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import engine
from bench.harness.worker import Flows, Images, Job
from engine.backends.onnx_graphs import WHOLE
from engine.backends.onnxruntime.cuda_backend import OnnxRuntimeCudaBackend
from engine.backends.onnxruntime.session import CpuSession
from engine.backends.openvino.session import OpenVINOSession, import_openvino, version_of
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError


class EngineRunner:
    """``FlowEngine.infer`` as a user calls it: any size, checked, padded, cropped."""

    def __init__(self, job: Job, **choices: Any) -> None:
        self._engine = self.load(job, **choices)
        self.device = self._engine.backend.device
        self.runtime_version = self._engine.backend.runtime_version

    def load(self, job: Job, **choices: Any) -> engine.FlowEngine:
        """Open the bundle; ``choices`` are more of the arguments of ``engine.load``."""
        backend = job.backend.partition(" ")[0]
        return engine.load(bundle_of(job), backend=backend, threads=job.threads, **choices)

    def run(self, image1: Images, image2: Images) -> Flows:
        return self._engine.infer(image1, image2)

    def device_ms(self) -> float | None:
        return self._engine.backend.device_ms()

    def close(self) -> None:
        self._engine.close()


class ManyRunner(EngineRunner):
    """``FlowEngine.infer_many`` with a stream for each thread: for throughput, not latency."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, streams=job.threads)
        # Streams that keep step give their results together.
        self.window = 2 * job.threads

    def run_many(self, pairs: Iterable[tuple[Images, Images]]) -> Iterator[Flows]:
        return self._engine.infer_many(pairs)


class AlignedRunner(EngineRunner):
    """``FlowEngine.infer`` of an engine that was loaded with ``compensate_motion``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, compensate_motion=True)


class StreamRunner(EngineRunner):
    """``FlowEngine.stream`` as a user calls it on a video: one frame in, one flow out.

    Pairs that continue each other, each starting with the very array that the last one ended with,
    are one video; any other pair starts a new one.
    """

    of_video: Literal[True] = True

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._frames: deque[Images] = deque()
        self._last: Images | None = None
        self._flows: Iterator[Flows] = iter(())

    def run(self, image1: Images, image2: Images) -> Flows:
        if image1 is not self._last:
            self._frames.append(image1)
            self._flows = self._engine.stream(self._video())
        self._frames.append(image2)
        self._last = image2
        return next(self._flows)

    def _video(self) -> Iterator[Images]:
        while True:
            yield self._frames.popleft()


class NhwcRunner(EngineRunner):
    """The engine with ONNX Runtime's convolutions on CUDA in channels-last order.

    Off in the engine until a measurement is for it: tensor cores want that order, but every layer
    that does not have it costs two transpositions.
    """

    def load(self, job: Job, **_: Any) -> engine.FlowEngine:
        bundle = bundle_of(job)
        manifest = read_manifest(bundle)
        backend = _NhwcBackend(bundle, manifest, device=0, threads=job.threads, streams=1)
        return engine.FlowEngine(manifest, backend)


class _NhwcBackend(OnnxRuntimeCudaBackend):
    tuning: ClassVar[Mapping[str, Any]] = {"prefer_nhwc": True}


class BareOnnxRuntime:
    """The session of the engine's backend, with its settings, and nothing around it."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        ort = importlib.import_module("onnxruntime")
        self.runtime_version = str(ort.__version__)
        self._session = CpuSession(ort, bundle_of(job) / WHOLE, job.threads).session

    def run(self, image1: Images, image2: Images) -> Flows:
        flow: Flows = self._session.run(["flow"], {"image1": image1, "image2": image2})[0]
        return flow

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        del self._session


class BareOpenVINO:
    """The compiled model of the engine's backend, with its settings, and nothing around it."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        openvino = import_openvino()
        self.runtime_version = version_of(openvino)
        self._model = OpenVINOSession(openvino, bundle_of(job) / WHOLE, threads=job.threads)
        self._request: Any = None

    def run(self, image1: Images, image2: Images) -> Flows:
        inputs = {"image1": image1, "image2": image2}
        if self._request is None:
            self._request = self._model.slots_for(inputs).compiled.create_infer_request()
        flow: Flows = self._request.infer(inputs, share_inputs=True)["flow"]
        return flow

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        del self._request


def bundle_of(job: Job) -> Path:
    """Return the job's bundle.

    Raises:
        BackendError: the job has none.
    """
    if job.bundle is None:
        raise BackendError(f"no bundle for {job.network}; pass --bundle DIR.")
    return Path(job.bundle)
