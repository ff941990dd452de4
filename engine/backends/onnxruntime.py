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
from engine.backends.graphs import WHOLE, Arrays, GraphsBackend, open_graphs
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError
from engine.manifest import Manifest, SizeProfile

_CUDA = "CUDAExecutionProvider"
# Both packages are one folder: installed over each other they break, and uninstalling either one
# takes files of the other.
_INSTALL_CUDA = (
    'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "onnxruntime-gpu[cuda,cudnn]"'
)


class OnnxRuntimeBackend(GraphsBackend):
    """A bundle's ONNX on ONNX Runtime's CPU provider."""

    name = "onnxruntime"

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        *,
        device: int,
        threads: int | None,
        streams: int,
    ) -> None:
        """Load the model with ``threads`` CPU threads, which ``streams`` flows at once share.

        ``device`` has no meaning here.
        """
        ort = import_runtime("onnxruntime", self.name, install="pip install onnxruntime")
        self.runtime_version = str(ort.__version__)
        self.graphs = open_graphs(
            bundle, manifest, self.name, lambda path: CpuSession(ort, path, threads, streams)
        )


class CpuSession:
    """One ONNX file in ONNX Runtime; a ``graphs.Model``.

    It hands over ONNX Runtime's own output buffers; IO binding was measured not to be faster.
    """

    def __init__(self, ort: ModuleType, path: Path, threads: int | None, streams: int = 1) -> None:
        """Load it.

        Raises:
            BackendError: ONNX Runtime cannot.
        """
        # A session's pool has one thread less than it is told, because each caller works as well:
        # so many callers and that pool are as many threads as there may be.
        share = (threads or available_threads()) - streams + 1
        self.session = _open_session(ort, path, "CPUExecutionProvider", {}, share)
        self._names = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``graphs.Model``."""
        return dict(zip(self._names, self.session.run(self._names, inputs), strict=True))


class OnnxRuntimeCudaBackend:
    """``model.onnx`` on ONNX Runtime's CUDA provider, never on another one."""

    name = "onnxruntime-cuda"
    profile: SizeProfile | None = None

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

        ``streams`` callers at once run in one session. The GPU is not divided among them: their
        copies and kernels take turns as CUDA schedules them.
        """
        ort = import_runtime("onnxruntime", self.name, install=_INSTALL_CUDA)
        if _CUDA not in ort.get_available_providers():
            raise BackendNotInstalledError(
                f"backend {self.name} needs {_CUDA}; the installed onnxruntime {ort.__version__} "
                f"has {', '.join(ort.get_available_providers())}. Install it: {_INSTALL_CUDA}"
            )
        self.device = f"cuda:{device}"
        self.runtime_version = str(ort.__version__)
        # Two graphs would take every feature map to the host and back.
        model = model_file(bundle, manifest, WHOLE, self.name)
        ort.preload_dlls()  # finds CUDA and cuDNN where pip puts them
        # TF32 is on by default and keeps 10 bits of the mantissa: not what "fp32" promises.
        options = {"device_id": device, "use_tf32": int(manifest.precision != "fp32")}
        try:
            count = threads or available_threads()
            self._session = _open_session(ort, model, _CUDA, options, count)
        except BackendError as error:
            if device < _gpu_count():
                raise
            raise HardwareMissingError(f"there is no GPU {device} here: {error}") from error
        self._ort, self._device_id = ort, device
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image."""
        return image

    def run(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        self._last = first, second
        flow: NDArray[np.float32]
        (flow,) = self._session.run(["flow"], {"image1": first, "image2": second})
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
    ort: ModuleType, model: Path, provider: str, options: dict[str, int], threads: int
) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors; they are raised as well
    # Between runs its threads would wait in a loop, and take the CPU from the bundle's other graph.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    # An int8 graph is computed in float: ONNX Runtime's int8 convolutions were no faster than that,
    # and left to itself it converts to int8 and back, weights included, at every layer (+25 %).
    settings.add_session_config_entry("session.disable_quant_qdq", "1")
    settings.add_session_config_entry("session.enable_quant_qdq_cleanup", "1")
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
