"""What PyCUDA (2026.1) lacks of the CUDA driver, through ``ctypes``: graphs and foreign streams.

Nothing in its sources calls ``cuStreamBeginCapture`` or ``cuGraph*``; its events hide their handles
and its streams cannot wrap one, so neither can join a stream that another library made. Everything
here is called inside ``Device.current``, on the handles that PyCUDA and the caller give out.
https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import ctypes
import functools
import os
from collections.abc import Callable
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


class Graph:
    """Work recorded on a stream once, launched again as one unit.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
    """

    def __init__(self, stream: Any, record: Callable[[], None]) -> None:
        """Record what ``record`` puts on ``stream`` (which does not run).

        Raises BackendError when it cannot be recorded; the stream is usable either way.
        """
        self._executable = ctypes.c_void_p()
        self._stream = ctypes.c_void_p(stream.handle)
        graph = ctypes.c_void_p()
        # Thread-local: an allocation by another thread does not spoil the recording.
        _call("cuStreamBeginCapture_v2", self._stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            try:
                record()
            except BaseException:
                # It fails as well then, and would only say that something did before.
                _libcuda().cuStreamEndCapture(self._stream, ctypes.byref(graph))
                raise
            _call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            _call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, 0)
        finally:
            if graph:
                _call("cuGraphDestroy", graph)

    def __del__(self) -> None:
        """Free the graph, after a launch that is under way; inside `Device.current`."""
        if self._executable:
            _call("cuGraphExecDestroy", self._executable)

    def launch(self) -> None:
        """Queue the recorded work on the stream it was recorded on."""
        _call("cuGraphLaunch", self._executable, self._stream)


def join(earlier: int, later: int) -> None:
    """Let what comes on the stream ``later`` wait for what is on ``earlier``; the host does not.

    Args:
        earlier: handle of a stream; 0 and 1 are the legacy default stream.
        later: likewise.
    """
    event = ctypes.c_void_p()
    _call("cuEventCreate", ctypes.byref(event), CU_EVENT_DISABLE_TIMING)
    try:
        _call("cuEventRecord", event, earlier)
        _call("cuStreamWaitEvent", later, event, 0)
    finally:
        # The driver keeps it until the wait is over.
        _call("cuEventDestroy_v2", event)


def device_of(address: int) -> int | None:
    """Return the index of the GPU whose memory is at an address, None if it is no such memory."""
    ordinal = ctypes.c_int()
    status = _libcuda().cuPointerGetAttribute(
        ctypes.byref(ordinal), CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address
    )
    if status == CUDA_ERROR_INVALID_VALUE:
        return None
    _check("cuPointerGetAttribute", status)
    return ordinal.value


@functools.cache
def _libcuda() -> Any:
    library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    for name, argument_types in FUNCTIONS.items():
        getattr(library, name).argtypes = argument_types
    return library


def _call(name: str, *arguments: Any) -> None:
    _check(name, getattr(_libcuda(), name)(*arguments))


def _check(name: str, status: int) -> None:
    if status:
        text = ctypes.c_char_p()
        _libcuda().cuGetErrorString(status, ctypes.byref(text))
        said = text.value.decode() if text.value else f"CUresult {status}"
        raise BackendError(f"{name}: {said}")
