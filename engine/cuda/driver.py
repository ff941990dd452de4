"""Load PyCUDA, the binding of the CUDA driver API, when a GPU backend is opened."""

import functools
from typing import Any

from engine.errors import BackendNotInstalledError, HardwareMissingError


def load_driver() -> Any:
    """Return the module ``pycuda.driver`` (2026.1), initialised.

    Raises:
        BackendNotInstalledError: PyCUDA is missing.
        HardwareMissingError: there is no NVIDIA driver or GPU.
    """
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as error:
        raise BackendNotInstalledError(
            f"the GPU backends need PyCUDA ({error}): pip install pycuda==2026.1 "
            "(it compiles against the CUDA toolkit, so have nvcc on the PATH)"
        ) from error
    except ImportError as error:
        raise HardwareMissingError(
            f"PyCUDA does not load ({error}): is the NVIDIA driver installed? "
            "Use a CPU backend on a machine without an NVIDIA GPU"
        ) from error
    try:
        driver.init()
    except driver.Error as error:
        raise HardwareMissingError(
            f"CUDA does not start ({error}): expected an NVIDIA GPU and its driver. "
            "Check nvidia-smi, or use a CPU backend"
        ) from error
    return driver


@functools.cache
def primary_context(driver: Any, index: int) -> Any:
    """Retain the primary context of GPU ``index`` until the process ends.

    TensorRT, ONNX Runtime and PyTorch use the same context. It is never released, because PyCUDA's
    release leaves the destroyed context current on the calling thread.
    """
    return driver.Device(index).retain_primary_context()
