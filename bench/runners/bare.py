"""Runners of the runtimes without the engine: they show what the engine adds to a latency.

Both refine the flow if the bundle asks for it.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.harness.worker import Flows, Images, Job
from bench.runners.engine import bundle_of
from bench.runners.refinement import refined_flows
from engine.backends.onnx_graphs import WHOLE
from engine.backends.onnxruntime.session import CpuSession
from engine.backends.openvino.runtime import import_openvino, version_of
from engine.backends.openvino.session import OpenVINOSession
from engine.bundle.manifest import read_manifest


class OnnxRuntimeRunner:
    """``InferenceSession.run`` with the settings of the engine's backend."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        ort = importlib.import_module("onnxruntime")
        self.runtime_version = str(ort.__version__)
        self._refined = _refinement_of(job)
        self._session = CpuSession(ort, bundle_of(job) / WHOLE, job.threads).session

    def run(self, image1: Images, image2: Images) -> Flows:
        flow: Flows = self._session.run(["flow"], {"image1": image1, "image2": image2})[0]
        return self._refined(image1, image2, flow)

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        del self._session


class OpenVINORunner:
    """``InferRequest.infer`` with the settings of the engine's backend."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        openvino = import_openvino()
        self._refined = _refinement_of(job)
        self.runtime_version = version_of(openvino)
        self._model = OpenVINOSession(openvino, bundle_of(job) / WHOLE, threads=job.threads)
        self._requests: dict[tuple[int, ...], Any] = {}  # by the shape of the images

    def run(self, image1: Images, image2: Images) -> Flows:
        inputs = {"image1": image1, "image2": image2}
        if image1.shape not in self._requests:
            compiled = self._model.slots_for(inputs).compiled
            self._requests[image1.shape] = compiled.create_infer_request()
        flow: Flows = self._requests[image1.shape].infer(inputs, share_inputs=True)["flow"]
        return self._refined(image1, image2, flow)

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        self._requests.clear()


def _refinement_of(job: Job) -> Callable[[Images, Images, Flows], Flows]:
    refine = read_manifest(bundle_of(job)).refine
    return partial(refined_flows, refine, threads=job.threads)
