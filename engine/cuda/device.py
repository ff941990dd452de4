"""One GPU through PyCUDA: context, streams, copies, event times and deferred frees.

PyCUDA frees memory in a destructor, which only works while the memory's context is current;
elsewhere it leaks the memory with a warning. Drop a `Buffer`, a `Graph` or a stream inside
`Device.current` only.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.cuda import libcuda
from engine.cuda.driver import load_driver, primary_context
from engine.cuda.graphs import Graph
from engine.errors import BackendError, HardwareMissingError

CU_STREAM_NON_BLOCKING = 1


class Device:
    """One NVIDIA GPU; thread-safe.

    Attributes:
        driver: the module ``pycuda.driver``.
        index: the CUDA device index.
        name: the GPU's name.
        compute_capability: for instance ``"8.9"``.
    """

    def __init__(self, index: int) -> None:
        """Open the GPU.

        Raises:
            BackendNotInstalledError: PyCUDA is missing.
            HardwareMissingError: there is no such GPU.
            BackendError: this process cannot use the GPU.
        """
        self.driver = load_driver()
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
            self._context = primary_context(self.driver, index)
        except self.driver.Error as error:
            raise BackendError(
                f"cuda:{index} cannot be opened: {error}. Does another process use it exclusively, "
                "or all of its memory? See nvidia-smi"
            ) from error
        # While any stream of a context is captured, no thread may synchronise the context: both
        # the synchronisation and the capture would fail. (CUDA C++ Programming Guide, CUDA Graphs,
        # "Prohibited and Unhandled Operations")
        self._synchronisation = threading.Lock()
        self._to_free: deque[list[Any]] = deque()

    def __str__(self) -> str:
        """Return for instance ``cuda:0 (NVIDIA L4, compute capability 8.9)``."""
        return f"cuda:{self.index} ({self.name}, compute capability {self.compute_capability})"

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current on the calling thread, then restore the previous one.

        Raises:
            BackendError: PyCUDA raised an exception inside.
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
        """Return the GPU time, in milliseconds, of what ``work`` enqueues on ``stream``."""
        start, stop = self.driver.Event(), self.driver.Event()
        start.record(stream)
        work()
        stop.record(stream)
        stop.synchronize()
        return float(stop.time_since(start))

    def capture(self, stream: Any, work: Callable[[], None]) -> Graph:
        """Return the graph of what ``work`` enqueues on ``stream``. Call inside `current`.

        Raises:
            BackendError: the work cannot be captured; the stream stays usable.
        """
        try:
            with self._synchronisation:
                return Graph(stream, work)
        finally:
            self._free_pending()

    def join(self, earlier: int, later: int) -> None:
        """Make later work on the stream ``later`` wait for the work on ``earlier`` (handles)."""
        with self.current():
            libcuda.join(earlier, later)

    def download(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Return a copy of device memory, after all work queued on the GPU has finished."""
        host = np.empty(nbytes, np.uint8)
        try:
            with self.current(), self._synchronisation:
                self.driver.Context.synchronize()
                self.driver.memcpy_dtoh(host, address)
        finally:
            self._free_pending()
        return host

    def free(self, allocations: list[Any]) -> None:
        """Empty a list of device memory, after all work queued on the GPU has finished.

        ``cuMemFree`` alone "may" wait for the work, and would do so while holding Python's
        interpreter lock. This method never waits for another thread, because the garbage collector
        calls it, possibly on the thread that captures a graph. While another thread captures or
        synchronises, that thread frees the memory afterwards.
        """
        self._to_free.append(allocations)
        self._free_pending()

    def _free_pending(self) -> None:
        while self._to_free and self._synchronisation.acquire(blocking=False):
            unused = [self._to_free.popleft() for _ in range(len(self._to_free))]
            try:
                with self.current():
                    try:
                        self.driver.Context.synchronize()
                    finally:
                        for allocations in unused:
                            allocations.clear()
            finally:
                self._synchronisation.release()

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
        """Enqueue a copy of ``height`` rows of ``width`` bytes within the device.

        Args:
            stream: a ``pycuda.driver.Stream``.
            source: address of the first row.
            source_pitch: bytes from one row to the next.
            target: address of the first row of the copy; must not overlap the source.
            target_pitch: bytes from one row of the copy to the next.
            width: bytes per row.
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
