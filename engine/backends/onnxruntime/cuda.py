"""ONNX Runtime on NVIDIA GPUs: its CUDA provider, and its two TensorRT providers."""

import contextlib
import ctypes
import functools
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.backends.onnx_graphs import WHOLE
from engine.backends.onnxruntime.backend import IN_FLOAT, open_session
from engine.backends.onnxruntime.slots import INPUTS, Lane, OneAtATime, Runs, SideBySide
from engine.backends.registry import available_threads, import_runtime, model_file, read_model
from engine.bundle.manifest import Manifest, SizeProfile
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError

# Every variant of the package is one folder: installed over each other they break, and uninstalling
# one takes files of the other.
_REPLACE = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install "
# Callers who overlap each hold the buffers of all layers.
MAX_LANES = 4


class OnnxRuntimeCudaBackend:
    """``model.onnx`` on ONNX Runtime's CUDA provider, never on another one.

    The class variables are what the providers differ in.

    Attributes:
        provider: ONNX Runtime's name of it.
        install: the shell command that installs it.
        memory: where its inputs and output lie, in ONNX Runtime's word.
        graph_option: the option that turns CUDA graphs on.
        max_graphs: how many sizes get one; the weights are on the device once for each.
        config: session configuration entries.
        tuning: options that change nothing but speed.
    """

    name = "onnxruntime-cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"
    install: ClassVar[str] = _REPLACE + '"onnxruntime-gpu[cuda,cudnn]"'
    memory: ClassVar[str] = "cuda"
    graph_option: ClassVar[str] = "enable_cuda_graph"
    max_graphs: ClassVar[int] = 4
    config: ClassVar[Mapping[str, str]] = IN_FLOAT
    tuning: ClassVar[Mapping[str, Any]] = {}

    profile: SizeProfile | None

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        *,
        device: int,
        threads: int | None,
        streams: int,
    ) -> None:
        """Load the model onto GPU ``device``.

        With one of ``streams``, pairs run one after another, from whichever thread, and their sizes
        as CUDA graphs. With more, so many (up to ``MAX_LANES``) run at once and without graphs. The
        GPU is not divided among them: their copies and kernels take turns as CUDA schedules them.

        Raises:
            BackendNotInstalledError: ONNX Runtime is missing, or the provider in it.
            HardwareMissingError: There is no such GPU, or the provider does not start on it.
            BackendError: The bundle has not the file, or it cannot be loaded.
        """
        ort = import_runtime("onnxruntime", self.name, install=self.install)
        if self.provider not in ort.get_available_providers():
            raise BackendNotInstalledError(
                f"backend {self.name} needs {self.provider}; the installed onnxruntime "
                f"{ort.__version__} has {', '.join(ort.get_available_providers())}. "
                f"Install it: {self.install}"
            )
        self.device = f"cuda:{device}"
        self.runtime_version = str(ort.__version__)
        # Two graphs would take every feature map to the host and back.
        path = model_file(bundle, manifest, WHOLE, self.name)
        # Once, for the sessions of further sizes too, whatever becomes of the file.
        onnx = read_model(path, manifest.files[WHOLE])
        ort.preload_dlls()  # finds CUDA and cuDNN where pip puts them
        self.profile = self._profile(manifest)
        options = {"device_id": device, **self._options(manifest), **self.tuning}
        count = threads or available_threads()
        try:
            self._runs = self._open(ort, path, onnx, options, threads=count, streams=streams)
        except BackendError as error:
            if device < _gpu_count():
                raise
            raise HardwareMissingError(f"there is no GPU {device} here: {error}") from error

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image."""
        return image

    def run(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        return self._runs.run(first, second)

    def device_ms(self) -> float | None:
        """See ``Backend.device_ms``; None before the first ``run``."""
        return self._runs.device_ms()

    def close(self) -> None:
        """Free the sessions and their GPU memory."""
        self._runs.close()

    def _profile(self, manifest: Manifest) -> SizeProfile | None:
        return None

    def _options(self, manifest: Manifest) -> dict[str, Any]:
        # TF32 is on by default and keeps 10 bits of the mantissa: not what "fp32" promises.
        return {"use_tf32": int(manifest.precision != "fp32")}

    def _open(
        self,
        ort: ModuleType,
        path: Path,
        onnx: bytes,
        options: dict[str, Any],
        *,
        threads: int,
        streams: int,
    ) -> Runs:
        # Of what is kept nothing holds the backend: dropped, it is freed at once.
        provider, graph_option = self.provider, self.graph_option
        device = self.memory, options["device_id"]
        opened = functools.partial(
            open_session, ort, path, onnx, threads=threads, config=self.config, install=self.install
        )

        def session(graphs: bool) -> Any:
            return opened(provider=(provider, {**options, graph_option: graphs}))

        if streams == 1:
            return OneAtATime(lambda graphs: Lane(ort, session(graphs), device), self.max_graphs)
        shared = session(False)
        return SideBySide([Lane(ort, shared, device) for _ in range(min(streams, MAX_LANES))])


class OnnxRuntimeTensorRTBackend(OnnxRuntimeCudaBackend):
    """``model.onnx`` as one TensorRT engine inside ONNX Runtime, for comparison with ``tensorrt``.

    The engine is built when the backend is opened, for the sizes of the bundle's profile and in the
    precision of its graph. It is not cached: ONNX Runtime would write it itself, unchecked.
    """

    name = "onnxruntime-tensorrt"
    provider = "TensorrtExecutionProvider"
    install = _REPLACE + '"onnxruntime-gpu[cuda,cudnn]" tensorrt'
    graph_option = "trt_cuda_graph_enable"
    max_graphs = 1  # each session builds its engine
    # Int8 stays int8, and a graph of which TensorRT takes but a part is an error.
    config: ClassVar[Mapping[str, str]] = {"session.disable_cpu_ep_fallback": "1"}

    _prefix = "trt"
    _package = "tensorrt"

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
            f"{self._prefix}_profile_{bound}_shapes": ",".join(
                f"{name}:{'x'.join(map(str, (*getattr(manifest.profile, bound), 3)))}"
                for name in INPUTS
            )
            for bound in ("min", "opt", "max")
        }

    def _open(self, *arguments: Any, **settings: Any) -> Runs:
        with contextlib.suppress(ImportError, OSError):  # its libraries may come from elsewhere
            importlib.import_module(self._package)
        try:
            return super()._open(*arguments, **settings)
        except BackendError as error:
            raise type(error)(
                f"{error}. {self.provider} has to take every node: check that TensorRT's libraries "
                f"load. Install them: {self.install}"
            ) from error


class OnnxRuntimeTensorRTRTXBackend(OnnxRuntimeTensorRTBackend):
    """The same with TensorRT for RTX."""

    name = "onnxruntime-tensorrt-rtx"
    provider = "NvTensorRTRTXExecutionProvider"
    install = _REPLACE + "onnxruntime-trt-rtx"
    graph_option = "enable_cuda_graph"

    _prefix = "nv"
    _package = "tensorrt_rtx"


def _gpu_count() -> int:
    """Ask the NVIDIA driver; 0 without one. Only to tell a missing GPU from a defective model."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
