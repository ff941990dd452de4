"""CUDA through PyCUDA: contexts, streams, staged buffers, copies and event times.

The only file that imports ``pycuda`` (2026.1), and only when a GPU backend is opened. What that
lacks is in ``libcuda.py``.

PyCUDA frees a block in its destructor, and only where the block's context is current; elsewhere it
leaks it with a warning. Drop a `Buffer`, a `Graph` or a stream inside `Device.current` only.
"""

import functools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.cuda import libcuda
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError

CU_STREAM_NON_BLOCKING = 1


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
        """Open it.

        Raises:
            BackendNotInstalledError: PyCUDA is missing.
            HardwareMissingError: there is no such GPU.
            BackendError: the driver does not give it to this process.
        """
        self.driver = _load_driver()
        self.index = index
        try:
            count = self.driver.Device.count()
            if not 0 <= index < count:
                raise HardwareMissingError(
                    f"GPU {index} does not exist; expected 0 to {count - 1} here"
                )
            gpu = self.driver.Device(index)
            self.name: str = gpu.name()
            self.compute_capability = "{}.{}".format(*gpu.compute_capability())
            self._context = _primary_context(self.driver, index)
        except self.driver.Error as error:
            raise BackendError(
                f"cuda:{index} cannot be opened: {error}. Does another process have it alone, or "
                "all of its memory? See nvidia-smi"
            ) from error
        # While any stream of a context is recorded, nobody may wait for the context: the wait fails
        # and so does the recording. (CUDA C++ Programming Guide, CUDA Graphs, "Prohibited and
        # Unhandled Operations")
        self._undisturbed = threading.Lock()
        self._to_free: deque[list[Any]] = deque()

    def __str__(self) -> str:
        """Return for instance ``cuda:0 (NVIDIA L4, compute capability 8.9)``."""
        return f"cuda:{self.index} ({self.name}, compute capability {self.compute_capability})"

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current on the calling thread, and put back what was.

        What PyCUDA raises inside becomes BackendError.
        """
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self.driver.Error as error:
            raise BackendError(f"{self}: {error}") from error

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

    def record(self, stream: Any, work: Callable[[], None]) -> libcuda.Graph:
        """Return the graph of what ``work`` puts on ``stream``; inside `Device.current`.

        Raises:
            BackendError: it cannot be recorded; the stream is usable all the same.
        """
        try:
            with self._undisturbed:
                return libcuda.Graph(stream, work)
        finally:
            self._free_all()

    def join(self, earlier: int, later: int) -> None:
        """Let what comes on the stream ``later`` (a handle) wait for what is on ``earlier``."""
        with self.current():
            libcuda.join(earlier, later)

    def download(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Return a copy of device memory, once everything queued on the GPU is done."""
        host = np.empty(nbytes, np.uint8)
        try:
            with self.current(), self._undisturbed:
                self.driver.Context.synchronize()
                self.driver.memcpy_dtoh(host, address)
        finally:
            self._free_all()
        return host

    def free(self, allocations: list[Any]) -> None:
        """Empty a list of device memory, once everything queued on the GPU is done.

        ``cuMemFree`` alone only "may" wait, and would do so with Python's interpreter lock held.
        Never waits for another thread: this is called wherever garbage is collected, perhaps by the
        very thread that is recording. Whoever is busy then empties the list afterwards.
        """
        self._to_free.append(allocations)
        self._free_all()

    def _free_all(self) -> None:
        while self._to_free and self._undisturbed.acquire(blocking=False):
            unused = [self._to_free.popleft() for _ in range(len(self._to_free))]
            try:
                with self.current():
                    try:
                        self.driver.Context.synchronize()
                    finally:
                        for allocations in unused:
                            allocations.clear()
            finally:
                self._undisturbed.release()

    def copy_2d(
        self,
        stream: Any,
        source: int,
        source_pitch: int,
        target: int,
        target_pitch: int,
        *,
        width: int,
        height: int,
    ) -> None:
        """Queue the copy of ``height`` rows of ``width`` bytes within the device.

        Args:
            stream: a ``pycuda.driver.Stream``.
            source: address of the first row.
            source_pitch: bytes from a row to the next.
            target: likewise; the two may not overlap.
            target_pitch: likewise.
            width: bytes in a row.
            height: number of rows.
        """
        copy = self.driver.Memcpy2D()
        copy.set_src_device(source)
        copy.src_pitch = source_pitch
        copy.set_dst_device(target)
        copy.dst_pitch = target_pitch
        copy.width_in_bytes = width
        copy.height = height
        copy(stream)


class Buffer:
    """A tensor on the device, with a pinned twin on the host for asynchronous copies.

    It is worked on in one stream. Both grow when a tensor does not fit, and never shrink.
    """

    def __init__(self, device: Device, stream: Any, dtype: DTypeLike) -> None:
        """Allocate nothing yet."""
        self._driver = device.driver
        self._stream = stream
        self._dtype = np.dtype(dtype)
        self._shape: tuple[int, ...] = ()
        self._capacity = 0
        self._pinned: Any = None
        self._block: Any = None

    def reserve(self, shape: tuple[int, ...]) -> None:
        """Have room for ``shape``; `address` may change, what was in the buffer goes."""
        nbytes = math.prod(shape) * self._dtype.itemsize
        if nbytes > self._capacity:
            self._stream.synchronize()
            # The old blocks go first: the device need not hold both.
            self._pinned = self._block = None
            self._capacity = 0
            self._block = self._driver.mem_alloc(nbytes)
            self._capacity = nbytes
        self._shape = shape

    @property
    def address(self) -> int:
        """The device address."""
        return int(self._block)

    @property
    def host(self) -> NDArray[Any]:
        """The pinned array, in the shape last reserved; made when it is first asked for."""
        if self._pinned is None:
            self._pinned = self._driver.pagelocked_empty(self._capacity, np.uint8)
        nbytes = math.prod(self._shape) * self._dtype.itemsize
        array: NDArray[Any] = self._pinned[:nbytes].view(self._dtype).reshape(self._shape)
        return array

    def close(self) -> None:
        """Free both; nothing may be at work on them."""
        self.__dict__.clear()

    def upload(self) -> None:
        """Queue the copy from host to device."""
        self._driver.memcpy_htod_async(self._block, self.host, self._stream)

    def download(self) -> None:
        """Queue the copy from device to host."""
        self._driver.memcpy_dtoh_async(self.host, self._block, self._stream)


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
        # Each with the caller's stream in which it may still be at work; the last used last.
        self._idle: list[tuple[int | None, Item]] = []
        self._changed = threading.Condition()

    @contextmanager
    def borrow(self, stream: int | None = None) -> Iterator[Item]:
        """Lend an item, with the device's context current.

        Of the free ones the last used that has nothing left to do, or whose work is ordered in
        ``stream`` anyway; so callers with a stream each get an item each.

        Args:
            stream: handle of the stream in which the caller leaves the item at work; None: its
                work will be done.

        Raises:
            BackendError: The pool is closed.
        """
        with self._device.current():
            item = self._take(stream)
            try:
                yield item
            finally:
                with self._changed:
                    self._idle.append((stream, item))
                    self._changed.notify_all()

    def _take(self, stream: int | None) -> Item:
        with self._changed:
            self._changed.wait_for(
                lambda: self._idle or self._made < self._limit or self._make is None
            )
            if self._make is None:
                raise BackendError("this backend is closed; load the bundle again.")
            ready = [i for i, (left_in, _) in enumerate(self._idle) if left_in in (None, stream)]
            if not ready and self._made < self._limit:
                item = self._make()
                self._made += 1
                return item
            return self._idle.pop(ready[-1] if ready else 0)[1]

    def close(self) -> None:
        """Wait until nothing is lent, then close all and drop ``make``; again is harmless."""
        with self._device.current(), self._changed:
            self._make = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._made)
            while self._idle:
                self._idle.pop()[1].close()
            self._made = 0
