"""Runners of the engine: single pairs, video, several pairs at the same time."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import engine
from bench.harness.worker import Flows, Images, Job
from bench.runners.refinement import refined_backend
from bench.runners.registry import BY_NAME
from engine.backends.onnxruntime.cuda_backend import OnnxRuntimeCudaBackend
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError


class EngineRunner:
    """``FlowEngine.infer``: images of any size are checked, padded and cropped."""

    def __init__(self, job: Job, **choices: Any) -> None:
        self._engine = self.load(job, **choices)
        self.device = self._engine.backend.device
        self.runtime_version = self._engine.backend.runtime_version

    def load(self, job: Job, **choices: Any) -> engine.FlowEngine:
        """Open the bundle; ``choices`` are further arguments of ``engine.load``."""
        backend = job.backend.partition(" ")[0]
        return engine.load(bundle_of(job), backend=backend, threads=job.threads, **choices)

    def run(self, image1: Images, image2: Images) -> Flows:
        return self._engine.infer(image1, image2)

    def device_ms(self) -> float | None:
        return self._engine.backend.device_ms()

    def close(self) -> None:
        self._engine.close()


class ManyRunner(EngineRunner):
    """``FlowEngine.infer_many`` with one stream per thread."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, streams=job.threads)
        # Streams in step return their results together.
        self.window = 2 * job.threads

    def run_many(self, pairs: Iterable[tuple[Images, Images]]) -> Iterator[Flows]:
        return self._engine.infer_many(pairs)


class OptionsRunner(EngineRunner):
    """``FlowEngine.infer`` of an engine that was loaded with the options of the method."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, **dict(BY_NAME[job.backend].options))


class StreamRunner(EngineRunner):
    """``FlowEngine.stream``: one frame in, one flow out.

    A pair whose first image is the array that the last pair ended with continues the video; any
    other pair starts a new one.
    """

    streaming: Literal[True] = True

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

    The engine does not use it: tensor cores compute in that order, but every layer without a kernel
    for it costs two transpositions.
    """

    def load(self, job: Job, **_: Any) -> engine.FlowEngine:
        bundle = bundle_of(job)
        manifest = read_manifest(bundle)
        backend = _NhwcBackend(bundle, manifest, device=0, threads=job.threads, streams=1)
        return engine.FlowEngine(manifest, refined_backend(backend, manifest, job.threads))


class _NhwcBackend(OnnxRuntimeCudaBackend):
    tuning: ClassVar[Mapping[str, Any]] = {"prefer_nhwc": True}


def bundle_of(job: Job) -> Path:
    """Return the job's bundle.

    Raises:
        BackendError: the job has none.
    """
    if job.bundle is None:
        raise BackendError(f"no bundle for {job.network}; pass --bundle DIR.")
    return Path(job.bundle)
