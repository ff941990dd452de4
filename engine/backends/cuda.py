"""CUDA through PyCUDA: contexts, streams, staged buffers, event times and graphs.

The only file that imports ``pycuda`` (2026.1), and only when a GPU backend is opened. PyCUDA has no
CUDA graphs (nothing in its sources calls ``cuStreamBeginCapture`` or ``cuGraph*``), so those seven
functions of the driver are called through ``ctypes`` on the handles that PyCUDA gives out.

PyCUDA frees a block in its destructor, and only where the block's context is current; elsewhere it
leaks it with a warning. Drop a `Buffer`, a `Graph` or a stream inside `Device.current` only.
"""

import ctypes
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError

CU_STREAM_NON_BLOCKING = 1
CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1

GRAPH_FUNCTIONS: dict[str, tuple[Any, ...]] = {
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
    "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


def _load_driver() -> Any:
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
def _primary_context(driver: Any, index: int) -> Any:
    """Retain the primary context of GPU ``index`` until the process ends.

    The primary context is the one that TensorRT, ONNX Runtime and PyTorch use. It is not released
    before the end because PyCUDA's release leaves the dead context current on the calling thread.
    """
    return driver.Device(index).retain_primary_context()


class Device:
    """One NVIDIA GPU, shared by any number of threads.

    Attributes:
        driver: the module ``pycuda.driver``.
        index: the CUDA device index.
        name: the GPU's name.
        compute_capability: for instance ``"8.9"``.
    """

    def __init__(self, index: int) -> None:
        """Raise BackendNotInstalledError without PyCUDA, HardwareMissingError without that GPU."""
        self.driver = _load_driver()
        count = self.driver.Device.count()
        if not 0 <= index < count:
            raise HardwareMissingError(
                f"GPU {index} does not exist; expected 0 to {count - 1} here"
            )
        gpu = self.driver.Device(index)
        self.index = index
        self.name: str = gpu.name()
        self.compute_capability = "{}.{}".format(*gpu.compute_capability())
        self._context = _primary_context(self.driver, index)

    def __str__(self) -> str:
        """Return for instance ``cuda:0 (NVIDIA L4, compute capability 8.9)``."""
        return f"cuda:{self.index} ({self.name}, compute capability {self.compute_capability})"

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current on the calling thread, and put back what was.

        What PyCUDA raises inside becomes BackendError.
        """
        self._context.push()
        try:
            yield
        except self.driver.Error as error:
            raise BackendError(f"{self}: {error}") from error
        finally:
            self._context.pop()

    def stream(self) -> Any:
        """Return a new ``pycuda.driver.Stream`` that does not wait for the default stream."""
        return self.driver.Stream(CU_STREAM_NON_BLOCKING)

    def elapsed_ms(self, stream: Any, work: Callable[[], None]) -> float:
        """Return the milliseconds that the GPU spends on what ``work`` puts on ``stream``."""
        start, stop = self.driver.Event(), self.driver.Event()
        start.record(stream)
        work()
        stop.record(stream)
        stop.synchronize()
        return float(stop.time_since(start))


class Buffer:
    """A tensor on the device with its pinned twin on the host, for asynchronous copies.

    Both grow when a tensor does not fit, and never shrink.

    Attributes:
        host: the pinned array, in the shape last reserved.
    """

    host: NDArray[Any]

    def __init__(self, device: Device, dtype: DTypeLike) -> None:
        """Allocate nothing yet."""
        self._driver = device.driver
        self._dtype = np.dtype(dtype)
        self._capacity = 0
        self._pinned: Any = None
        self._block: Any = None

    def reserve(self, shape: tuple[int, ...]) -> None:
        """Have room for ``shape``; no work on the buffer may be pending, `address` may change."""
        nbytes = math.prod(shape) * self._dtype.itemsize
        if nbytes > self._capacity:
            # The old blocks go first: the device need not hold both.
            self.host = self._pinned = self._block = None  # type: ignore[assignment]
            self._capacity = 0
            self._pinned = self._driver.pagelocked_empty(nbytes, np.uint8)
            self._block = self._driver.mem_alloc(nbytes)
            self._capacity = nbytes
        self.host = self._pinned[:nbytes].view(self._dtype).reshape(shape)

    @property
    def address(self) -> int:
        """The device address."""
        return int(self._block)

    def upload(self, stream: Any) -> None:
        """Queue the copy from host to device."""
        self._driver.memcpy_htod_async(self._block, self.host, stream)

    def download(self, stream: Any) -> None:
        """Queue the copy from device to host."""
        self._driver.memcpy_dtoh_async(self.host, self._block, stream)


class Closable(Protocol):
    """What a `Pool` lends."""

    def close(self) -> None:
        """Free everything now: the last caller may still hold the object itself."""
        ...


Item = TypeVar("Item", bound=Closable)


class Pool(Generic[Item]):
    """Up to ``limit`` things that live on a device, made when callers overlap.

    One more caller than that waits.
    """

    def __init__(self, device: Device, make: Callable[[], Item], *, limit: int) -> None:
        """Make nothing yet."""
        self._device = device
        self._make: Callable[[], Item] | None = make
        self._limit = limit
        self._made = 0
        self._idle: list[Item] = []
        self._changed = threading.Condition()

    @contextmanager
    def borrow(self) -> Iterator[Item]:
        """Lend an item (of the free ones the last used), with the device's context current.

        Raises BackendError after `close`.
        """
        with self._device.current():
            item = self._take()
            try:
                yield item
            finally:
                with self._changed:
                    self._idle.append(item)
                    self._changed.notify_all()

    def _take(self) -> Item:
        with self._changed:
            self._changed.wait_for(
                lambda: self._idle or self._made < self._limit or self._make is None
            )
            if self._make is None:
                raise BackendError("this backend is closed; load the bundle again.")
            if not self._idle:
                self._idle.append(self._make())
                self._made += 1
            return self._idle.pop()

    def close(self) -> None:
        """Wait until nothing is lent, then close all and drop ``make``; again is harmless."""
        with self._device.current(), self._changed:
            self._make = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._made)
            while self._idle:
                self._idle.pop().close()
            self._made = 0


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
            finally:
                _call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            _call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, 0)
        finally:
            if graph:
                _call("cuGraphDestroy", graph)

    def __del__(self) -> None:
        """Free the graph; like PyCUDA's objects, inside `Device.current`."""
        if self._executable:
            _call("cuGraphExecDestroy", self._executable)

    def launch(self) -> None:
        """Queue the recorded work on the stream it was recorded on."""
        _call("cuGraphLaunch", self._executable, self._stream)


@functools.cache
def _libcuda() -> Any:
    library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    for name, argument_types in GRAPH_FUNCTIONS.items():
        getattr(library, name).argtypes = argument_types
    return library


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_libcuda(), name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        _libcuda().cuGetErrorString(status, ctypes.byref(text))
        said = text.value.decode() if text.value else f"CUresult {status}"
        raise BackendError(f"{name}: {said}")
