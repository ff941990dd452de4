"""ONNX Runtime, on the CPU and on CUDA."""

import ctypes
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends import available_threads, import_runtime, model_file, one_line
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError
from engine.manifest import Manifest, SizeProfile

_CUDA = "CUDAExecutionProvider"
# Both packages are one folder: installed over each other they break, and uninstalling either one
# takes files of the other.
_INSTALL_CUDA = (
    'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "onnxruntime-gpu[cuda,cudnn]"'
)


class OnnxRuntimeBackend:
    """``model.onnx`` on ONNX Runtime's CPU provider.

    ``run`` hands over ONNX Runtime's own output buffer; IO binding was measured not to be faster.
    """

    name = "onnxruntime"
    device = "cpu"
    profile: SizeProfile | None = None

    def __init__(
        self, bundle: Path, manifest: Manifest, *, device: int, threads: int | None
    ) -> None:
        """Load the model with ``threads`` CPU threads; ``device`` has no meaning here."""
        ort = import_runtime("onnxruntime", self.name, install="pip install onnxruntime")
        self.runtime_version = str(ort.__version__)
        model = model_file(bundle, manifest, "model.onnx", self.name)
        self._session = _open_session(ort, model, "CPUExecutionProvider", {}, threads)

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        flow: NDArray[np.float32]
        (flow,) = self._session.run(["flow"], {"image1": image1, "image2": image2})
        return flow

    def device_ms(self) -> None:
        """Return None: the host is the device."""

    def close(self) -> None:
        """Free the session."""
        del self._session


class OnnxRuntimeCudaBackend:
    """``model.onnx`` on ONNX Runtime's CUDA provider, never on another one."""

    name = "onnxruntime-cuda"
    profile: SizeProfile | None = None

    def __init__(
        self, bundle: Path, manifest: Manifest, *, device: int, threads: int | None
    ) -> None:
        """Load the model onto GPU ``device``."""
        ort = import_runtime("onnxruntime", self.name, install=_INSTALL_CUDA)
        if _CUDA not in ort.get_available_providers():
            raise BackendNotInstalledError(
                f"backend {self.name} needs {_CUDA}; the installed onnxruntime {ort.__version__} "
                f"has {', '.join(ort.get_available_providers())}. Install it: {_INSTALL_CUDA}"
            )
        self.device = f"cuda:{device}"
        self.runtime_version = str(ort.__version__)
        model = model_file(bundle, manifest, "model.onnx", self.name)
        ort.preload_dlls()  # finds CUDA and cuDNN where pip puts them
        # TF32 is on by default and keeps 10 bits of the mantissa: not what "fp32" promises.
        options = {"device_id": device, "use_tf32": int(manifest.precision != "fp32")}
        try:
            self._session = _open_session(ort, model, _CUDA, options, threads)
        except BackendError as error:
            if device < _gpu_count():
                raise
            raise HardwareMissingError(f"there is no GPU {device} here: {error}") from error
        self._ort, self._device_id = ort, device
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        self._last = image1, image2
        flow: NDArray[np.float32]
        (flow,) = self._session.run(["flow"], {"image1": image1, "image2": image2})
        return flow

    def device_ms(self) -> float | None:
        """See ``Backend.device_ms``; None before the first ``run``."""
        if self._last is None:
            return None
        binding = self._session.io_binding()
        for name, image in zip(("image1", "image2"), self._last, strict=True):
            value = self._ort.OrtValue.ortvalue_from_numpy(image, "cuda", self._device_id)
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("flow", "cuda", self._device_id)
        self._session.run_with_iobinding(binding)  # allocates the output
        start = time.perf_counter()
        self._session.run_with_iobinding(binding)  # returns when the GPU is done
        return (time.perf_counter() - start) * 1e3

    def close(self) -> None:
        """Free the session and its GPU memory."""
        self._last = None
        del self._session


def _gpu_count() -> int:
    """Ask the NVIDIA driver; 0 without one. Only to tell a missing GPU from a defective model."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


def _open_session(
    ort: ModuleType, model: Path, provider: str, options: dict[str, int], threads: int | None
) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads or available_threads()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors; they are raised as well
    try:
        session = ort.InferenceSession(
            model, settings, providers=[(provider, options)], enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's own errors share no other base
        raise BackendError(
            f"onnxruntime {ort.__version__} cannot load {model}: {one_line(error)}"
        ) from error
    # Without this, a provider that fails to load is replaced by the CPU and only a line printed.
    if session.get_providers()[0] != provider:
        raise HardwareMissingError(
            f"onnxruntime {ort.__version__} cannot use {provider} here and offers "
            f"{session.get_providers()[0]}. Check the driver and the CUDA and cuDNN libraries: "
            f"{_INSTALL_CUDA}"
        )
    return session
