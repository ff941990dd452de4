"""CUDA driver functions that PyCUDA (2026.1) lacks, through ``ctypes``.

PyCUDA has no stream capture and no graphs. Its events hide their handles and its streams cannot
wrap a handle, so neither can wait for a stream of another library. Call these functions inside
``Device.current``.
https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import ctypes
import functools
import os
from typing import Any

from engine.errors import BackendError

CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1
CU_EVENT_DISABLE_TIMING = 2
CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9
CUDA_ERROR_INVALID_VALUE = 1

FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (ctypes.c_void_p, ctypes.c_int),
    "cuStreamEndCapture": (ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)),
    "cuGraphInstantiateWithFlags": (
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_void_p,
        ctypes.c_ulonglong,
    ),
    "cuGraphLaunch": (ctypes.c_void_p, ctypes.c_void_p),
    "cuGraphExecDestroy": (ctypes.c_void_p,),
    "cuGraphDestroy": (ctypes.c_void_p,),
    "cuEventCreate": (ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint),
    "cuEventRecord": (ctypes.c_void_p, ctypes.c_void_p),
    "cuStreamWaitEvent": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint),
    "cuEventDestroy_v2": (ctypes.c_void_p,),
    "cuPointerGetAttribute": (ctypes.c_void_p, ctypes.c_int, ctypes.c_ulonglong),
    "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


def join(earlier: int, later: int) -> None:
    """Make later work on the stream ``later`` wait for the work on ``earlier``; returns at once.

    Args:
        earlier: handle of a stream; 0 and 1 are the legacy default stream.
        later: handle of a stream.
    """
    event = ctypes.c_void_p()
    call("cuEventCreate", ctypes.byref(event), CU_EVENT_DISABLE_TIMING)
    try:
        call("cuEventRecord", event, earlier)
        call("cuStreamWaitEvent", later, event, 0)
    finally:
        # The driver keeps the event until the wait is over.
        call("cuEventDestroy_v2", event)


def device_of(address: int) -> int | None:
    """Return the index of the GPU whose memory contains the address; None if there is none."""
    ordinal = ctypes.c_int()
    status = _libcuda().cuPointerGetAttribute(
        ctypes.byref(ordinal), CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address
    )
    if status == CUDA_ERROR_INVALID_VALUE:
        return None
    _check("cuPointerGetAttribute", status)
    return ordinal.value


def call(name: str, *arguments: Any) -> None:
    """Call a function of the driver.

    Raises:
        BackendError: it returned an error; the message has the driver's text.
    """
    _check(name, call_unchecked(name, *arguments))


def call_unchecked(name: str, *arguments: Any) -> int:
    """Call a function of the driver and return its status."""
    status: int = getattr(_libcuda(), name)(*arguments)
    return status


@functools.cache
def _libcuda() -> Any:
    library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    for name, argument_types in FUNCTIONS.items():
        getattr(library, name).argtypes = argument_types
    return library


def _check(name: str, status: int) -> None:
    if status:
        text = ctypes.c_char_p()
        _libcuda().cuGetErrorString(status, ctypes.byref(text))
        reason = text.value.decode() if text.value else f"CUresult {status}"
        raise BackendError(f"{name}: {reason}")
