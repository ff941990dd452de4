"""ONNX Runtime's TensorRT providers, for comparison with the engine's TensorRT backend.

The engine does not offer them: they build their TensorRT engine whenever a session is opened, while
the bundle of the ``tensorrt`` backend contains it.
"""

import contextlib
import importlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import engine
from bench.harness.worker import Job
from bench.runners.engine import EngineRunner, bundle_of
from bench.runners.refinement import refined_backend
from engine.backends.base import INPUTS
from engine.backends.onnxruntime.cuda_backend import REINSTALL, OnnxRuntimeCudaBackend
from engine.backends.onnxruntime.slots import Runs
from engine.bundle.manifest import Manifest, SizeProfile, read_manifest
from engine.errors import BackendError


class OnnxRuntimeTensorRTBackend(OnnxRuntimeCudaBackend):
    """``model.onnx`` as one TensorRT engine inside ONNX Runtime.

    The engine is built when the backend is opened, for the sizes of the bundle's profile and in the
    precision of its graph. It is not cached: ONNX Runtime would not check the cached file.
    """

    name = "onnxruntime-tensorrt"
    provider = "TensorrtExecutionProvider"
    install = REINSTALL + '"onnxruntime-gpu[cuda,cudnn]" tensorrt'
    graph_option = "trt_cuda_graph_enable"
    max_graphs = 1  # each session builds its engine
    # Keeps int8 in int8, and fails if TensorRT cannot run the whole graph.
    config: ClassVar[Mapping[str, str]] = {"session.disable_cpu_ep_fallback": "1"}
    prefix: ClassVar[str] = "trt"
    package: ClassVar[str] = "tensorrt"

    def _profile(self, manifest: Manifest) -> SizeProfile:
        return manifest.profile

    def _options(self, manifest: Manifest) -> dict[str, Any]:
        # https://github.com/microsoft/onnxruntime/issues/26029
        if manifest.precision == "fp32" and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
            raise BackendError(
                f"backend {self.name} computes an fp32 bundle in TF32, with 10 bits of mantissa, "
                "and has no option against it. Set NVIDIA_TF32_OVERRIDE=0 before starting Python, "
                "or use backend tensorrt."
            )
        return {
            f"{self.prefix}_profile_{bound}_shapes": ",".join(
                f"{name}:{'x'.join(map(str, (*getattr(manifest.profile, bound), 3)))}"
                for name in INPUTS
            )
            for bound in ("min", "opt", "max")
        }

    def _open(self, *arguments: Any, **settings: Any) -> Runs:
        with contextlib.suppress(ImportError, OSError):  # its libraries may be installed elsewhere
            importlib.import_module(self.package)
        try:
            return super()._open(*arguments, **settings)
        except BackendError as error:
            raise type(error)(
                f"{error}. {self.provider} has to run every node: check that TensorRT's libraries "
                f"load. Install them: {self.install}"
            ) from error


class OnnxRuntimeTensorRTRTXBackend(OnnxRuntimeTensorRTBackend):
    """The same with TensorRT for RTX."""

    name = "onnxruntime-tensorrt-rtx"
    provider = "NvTensorRTRTXExecutionProvider"
    install = REINSTALL + "onnxruntime-trt-rtx"
    graph_option = "enable_cuda_graph"
    prefix = "nv"
    package = "tensorrt_rtx"


BACKENDS = {
    backend.name: backend for backend in (OnnxRuntimeTensorRTBackend, OnnxRuntimeTensorRTRTXBackend)
}


class OnnxRuntimeTensorRTRunner(EngineRunner):
    """``FlowEngine.infer`` on one of these backends."""

    def load(self, job: Job, **_: Any) -> engine.FlowEngine:
        bundle = bundle_of(job)
        manifest = read_manifest(bundle)
        backend = BACKENDS[job.backend](bundle, manifest, device=0, threads=job.threads, streams=1)
        return engine.FlowEngine(manifest, refined_backend(backend, manifest, job.threads))
