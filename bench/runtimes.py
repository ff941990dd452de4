"""The engine as a contestant, and its runtimes without it."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import engine
from bench.worker import Job
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import OpenVINOBackend
from engine.errors import BackendError
from engine.manifest import read_manifest

Images = NDArray[np.uint8]
Flows = NDArray[np.float32]
AnyBackend = TypeVar("AnyBackend", OnnxRuntimeBackend, OpenVINOBackend)


class EngineRunner:
    """``FlowEngine.infer`` as a user calls it: any size, checked, padded, cropped."""

    def __init__(self, job: Job) -> None:
        self._engine = engine.load(_bundle(job), backend=job.backend, threads=job.threads)
        self.device = self._engine.backend.device
        self.runtime_version = self._engine.backend.runtime_version

    def run(self, image1: Images, image2: Images) -> Flows:
        return self._engine.infer(image1, image2)

    def device_ms(self) -> float | None:
        return self._engine.backend.device_ms()

    def close(self) -> None:
        self._engine.close()


class BareOnnxRuntime:
    """The session of the engine's backend, with its settings, and nothing around it."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        backend = _backend(job, OnnxRuntimeBackend)
        self.runtime_version = backend.runtime_version
        self._session: Any = backend._session

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
        backend = _backend(job, OpenVINOBackend)
        self.runtime_version = backend.runtime_version
        self._request: Any = backend._compiled.create_infer_request()

    def run(self, image1: Images, image2: Images) -> Flows:
        inputs = {"image1": image1, "image2": image2}
        flow: Flows = self._request.infer(inputs, share_inputs=True)["flow"]
        return flow

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        del self._request


def _backend(job: Job, kind: type[AnyBackend]) -> AnyBackend:
    """Open the engine's own backend: other settings would count as overhead of the engine."""
    bundle = _bundle(job)
    return kind(bundle, read_manifest(bundle), device=0, threads=job.threads)


def _bundle(job: Job) -> Path:
    if job.bundle is None:
        raise BackendError(f"no bundle for {job.network}; pass --bundle DIR.")
    return Path(job.bundle)
