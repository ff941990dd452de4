"""``pycuda.driver`` without a GPU: names, signatures and context rules of PyCUDA 2026.1.

From its sources (src/wrapper/wrap_cudadrv.cpp, src/cpp/cuda.hpp). Device memory is NumPy memory at
its real addresses. A stream runs its work only when a caller waits for it, and only as far as that
caller needs, so that reading too early gives wrong values. ``fake_libcuda.py`` has the other
functions of the driver.
"""

import itertools
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tests.contract.fake_device import Mark, Memories, Queue

LEGACY = (0, 1)  # handles of the legacy default stream


class FakeDriver(ModuleType):
    """The module ``pycuda.driver``; ``gpus`` are (name, compute capability) pairs."""

    class Error(Exception):
        """As in PyCUDA, the base class of LogicError, MemoryError and others."""

    def __init__(self, *gpus: tuple[str, tuple[int, int]]) -> None:
        super().__init__("pycuda.driver")
        self.gpus = gpus
        self.capacity = 1 << 30
        self.memories = Memories()
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.leaked: list[str] = []
        self.handles = itertools.count(0x1000, 0x1000)
        # By handle; streams of other libraries, such as PyTorch, have only a `Queue`.
        self.queues: dict[int, Queue] = dict.fromkeys(LEGACY, Queue())
        self.copies = 0
        self._stacks = threading.local()
        for real_class in (Device, Stream, Event, Memcpy2D, Context):
            name = real_class.__name__
            setattr(self, name, type(name, (real_class,), {"cu": self, "__slots__": ()}))

    @property
    def blocks(self) -> dict[int, np.ndarray]:
        """PyCUDA's allocations, by address."""
        return {at: self.memories.blocks[at][1] for at in self.memories.of_pycuda}

    @property
    def stack(self) -> list["Context"]:
        if not hasattr(self._stacks, "contexts"):
            self._stacks.contexts = []
        return self._stacks.contexts

    def current(self) -> "Context":
        if not self.stack:
            raise self.Error("explicit_context_dependent failed: invalid device context")
        return self.stack[-1]

    def foreign_stream(self) -> int:
        """Return the handle of a new stream of another library."""
        handle = next(self.handles)
        self.queues[handle] = Queue()
        return handle

    def init(self, flags: int = 0) -> None:
        if not self.gpus:
            raise self.Error("cuInit failed: no CUDA-capable device is detected")

    def mem_alloc(self, nbytes: int, /) -> "DeviceAllocation":
        return DeviceAllocation(self, nbytes)

    def pagelocked_empty(
        self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> np.ndarray:
        owner = Resource(self)
        array = np.full(shape, 0xAA, dtype, order).view(PinnedArray)
        array.owner = owner
        return array

    def memcpy_htod_async(self, dest: Any, src: np.ndarray, stream: Any = None) -> None:
        assert isinstance(src, PinnedArray), "an asynchronous copy from pageable memory"
        self._copy(stream, lambda: (self.memory(int(dest), src.nbytes), _bytes(src)))

    def memcpy_dtoh_async(self, dest: np.ndarray, src: Any, stream: Any = None) -> None:
        assert isinstance(dest, PinnedArray), "an asynchronous copy to pageable memory"
        self._copy(stream, lambda: (_bytes(dest), self.memory(int(src), dest.nbytes)))

    def memcpy_dtoh(self, dest: np.ndarray, src: Any) -> None:
        """Wait for the legacy default stream only."""
        self.current()
        self.queues[LEGACY[0]].drain()
        np.copyto(_bytes(dest), self.memory(int(src), dest.nbytes))

    def _copy(self, stream: Any, ends: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        self.current()
        stream.queue.submit(lambda: np.copyto(*ends()))

    def memory(self, address: int, nbytes: int) -> np.ndarray:
        return self.memories.at(address, nbytes)


class PinnedArray(np.ndarray):
    """An array of page-locked memory, and every view of it."""

    owner: Any = None

    def __array_finalize__(self, parent: Any) -> None:
        self.owner = getattr(parent, "owner", None)

    def copy(self, order: Any = "C") -> np.ndarray:
        return np.array(self, order=order)


def _bytes(array: np.ndarray) -> np.ndarray:
    assert array.flags.c_contiguous, "PyCUDA copies contiguous arrays only"
    return array.reshape(-1).view(np.uint8)


class Resource:
    """An object of a context, which can only be freed while that context is current."""

    def __init__(self, cu: FakeDriver) -> None:
        self.context = cu.current()
        self.cu = cu
        cu.alive.add(self)

    def free(self) -> None:
        pass

    def __del__(self) -> None:
        if not hasattr(self, "context"):
            return
        if self.cu.stack[-1:] != [self.context]:
            # PyCUDA warns: "... in out-of-thread context could not be cleaned up".
            self.cu.leaked.append(type(self).__name__)
        self.free()


class DeviceAllocation(Resource):
    def __init__(self, cu: FakeDriver, nbytes: int) -> None:
        assert nbytes > 0
        if sum(block.nbytes for block in cu.blocks.values()) + nbytes > cu.capacity:
            raise cu.Error("cuMemAlloc failed: out of memory")
        super().__init__(cu)
        self.address = cu.memories.add(nbytes, self.context.index)
        cu.memories.of_pycuda.add(self.address)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        """Free at once: the documentation does not promise that cuMemFree waits for the device."""
        if hasattr(self, "address"):
            self.cu.memories.free(self.address)


class Context:
    cu: FakeDriver

    def __init__(self, index: int) -> None:
        self.index = index

    @classmethod
    def synchronize(cls) -> None:
        cls.cu.current()
        queues = list(cls.cu.queues.values())
        if any(queue.capturing is not None for queue in queues):
            for queue in queues:
                queue.is_invalid = queue.capturing is not None
            raise cls.cu.Error("cuCtxSynchronize failed: a stream is capturing")
        for queue in queues:
            queue.drain()

    def push(self) -> None:
        self.cu.stack.append(self)

    def pop(self) -> None:
        self.cu.stack.pop()


class Device:
    cu: FakeDriver

    def __init__(self, number: int, /) -> None:
        self._name, self._compute_capability = self.cu.gpus[number]
        self._number = number

    @classmethod
    def count(cls) -> int:
        return len(cls.cu.gpus)

    def name(self) -> str:
        return self._name

    def compute_capability(self) -> tuple[int, int]:
        return self._compute_capability

    def retain_primary_context(self) -> Context:
        return self.cu.Context(self._number)


class Stream(Resource):
    cu: FakeDriver

    def __init__(self, flags: int = 0) -> None:
        super().__init__(self.cu)
        assert flags == 1, "CU_STREAM_NON_BLOCKING"
        self.handle = next(self.cu.handles)
        self.queue = self.cu.queues[self.handle] = Queue()

    def synchronize(self) -> None:
        self.cu.current()
        self.queue.drain()

    def free(self) -> None:
        assert not self.cu.queues.pop(self.handle).pending, "a stream is freed with unfinished work"


class Event(Resource):
    cu: FakeDriver

    def __init__(self, flags: int = 0) -> None:
        super().__init__(self.cu)

    def record(self, stream: Any = None) -> "Event":
        self.mark = Mark(stream.queue)
        return self

    def synchronize(self) -> "Event":
        self.mark.reach()
        return self

    def time_since(self, event: "Event") -> float:
        """Return one millisecond for each piece of work between the two events."""
        return float(self.mark.position - event.mark.position - 1)


class Memcpy2D:
    """The copy within the device of cuda.hpp's ``memcpy_2d``."""

    cu: FakeDriver
    __slots__ = (
        "dst_device",
        "dst_pitch",
        "dst_x_in_bytes",
        "dst_y",
        "height",
        "src_device",
        "src_pitch",
        "src_x_in_bytes",
        "src_y",
        "width_in_bytes",
    )

    def __init__(self) -> None:
        for name in Memcpy2D.__slots__:
            setattr(self, name, 0)

    def set_src_device(self, devptr: int, /) -> None:
        self.src_device = devptr

    def set_dst_device(self, devptr: int, /) -> None:
        self.dst_device = devptr

    def __call__(self, stream: Stream, /) -> None:
        assert isinstance(stream, Stream)
        self.cu.current()
        assert all(type(getattr(self, name)) is int for name in Memcpy2D.__slots__)
        if self.height > 1 and not (
            self.width_in_bytes + self.src_x_in_bytes <= self.src_pitch
            and self.width_in_bytes + self.dst_x_in_bytes <= self.dst_pitch
        ):
            raise self.cu.Error("cuMemcpy2DAsync failed: invalid argument")
        source = self.src_device + self.src_y * self.src_pitch + self.src_x_in_bytes
        target = self.dst_device + self.dst_y * self.dst_pitch + self.dst_x_in_bytes
        rows, width, pitches = self.height, self.width_in_bytes, (self.src_pitch, self.dst_pitch)
        stream.queue.submit(lambda: self._copy(source, target, rows, width, pitches))
        self.cu.copies += 1

    def _copy(self, source: int, target: int, rows: int, width: int, pitches: Any) -> None:
        read, written = (
            np.ndarray((rows, width), np.uint8, self.cu.memory(start, (rows - 1) * pitch + width),
                       strides=(pitch, 1))
            for start, pitch in zip((source, target), pitches, strict=True)
        )  # fmt: skip
        assert not np.shares_memory(read, written), "the two ends overlap"
        np.copyto(written, read)
