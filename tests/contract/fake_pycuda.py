"""``pycuda.driver`` without a GPU: names, signatures and context rules of PyCUDA 2026.1.

From its sources (src/wrapper/wrap_cudadrv.cpp, src/cpp/cuda.hpp). Device memory is numpy's, and
a stream does nothing before somebody waits for it: what is read too early is wrong.
"""

import ctypes
import itertools
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from engine.backends.cuda import GRAPH_FUNCTIONS

STREAM_CAPTURE_INVALIDATED = 901


class FakeDriver(ModuleType):
    """The module ``pycuda.driver``; ``gpus`` are (name, compute capability) pairs."""

    class Error(Exception):
        """As in PyCUDA the base of LogicError, MemoryError and the others."""

    def __init__(self, *gpus: tuple[str, tuple[int, int]]) -> None:
        super().__init__("pycuda.driver")
        self.gpus = gpus
        self.capacity = 1 << 30
        self.blocks: dict[int, np.ndarray] = {}
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.leaked: list[str] = []
        self.streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.handles = itertools.count(0x1000, 0x1000)
        self._stacks = threading.local()
        for real_class in (Device, Stream, Event):
            setattr(
                self, real_class.__name__, type(real_class.__name__, (real_class,), {"cu": self})
            )

    @property
    def stack(self) -> list["Context"]:
        if not hasattr(self._stacks, "contexts"):
            self._stacks.contexts = []
        return self._stacks.contexts

    def current(self) -> "Context":
        if not self.stack:
            raise self.Error("explicit_context_dependent failed: invalid device context")
        return self.stack[-1]

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

    def _copy(self, stream: Any, ends: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        self.current()
        stream.submit(lambda: np.copyto(*ends()))

    def memory(self, address: int, nbytes: int) -> np.ndarray:
        block = self.blocks[address]
        assert nbytes <= block.nbytes, f"{nbytes} bytes in a block of {block.nbytes}"
        return block[:nbytes]


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
    """Something made in a context, which can only be freed where that is current."""

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
            # The real one warns: "... in out-of-thread context could not be cleaned up".
            self.cu.leaked.append(type(self).__name__)
        self.free()


class DeviceAllocation(Resource):
    def __init__(self, cu: FakeDriver, nbytes: int) -> None:
        assert nbytes > 0
        if sum(block.nbytes for block in cu.blocks.values()) + nbytes > cu.capacity:
            raise cu.Error("cuMemAlloc failed: out of memory")
        super().__init__(cu)
        self.address = next(cu.handles)
        cu.blocks[self.address] = np.full(nbytes, 0x55, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        if hasattr(self, "address"):
            del self.cu.blocks[self.address]


class Context:
    def __init__(self, cu: FakeDriver) -> None:
        self.cu = cu

    def push(self) -> None:
        self.cu.stack.append(self)

    def pop(self) -> None:
        self.cu.stack.pop()


class Device:
    cu: FakeDriver

    def __init__(self, number: int, /) -> None:
        self._name, self._compute_capability = self.cu.gpus[number]

    @classmethod
    def count(cls) -> int:
        return len(cls.cu.gpus)

    def name(self) -> str:
        return self._name

    def compute_capability(self) -> tuple[int, int]:
        return self._compute_capability

    def retain_primary_context(self) -> Context:
        return Context(self.cu)


class Stream(Resource):
    cu: FakeDriver

    def __init__(self, flags: int = 0) -> None:
        super().__init__(self.cu)
        assert flags == 1, "CU_STREAM_NON_BLOCKING"
        self.handle = next(self.cu.handles)
        self.pending: list[Callable[[], None]] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.cu.streams[self.handle] = self

    def submit(self, work: Callable[[], None]) -> None:
        (self.pending if self.capturing is None else self.capturing).append(work)

    def synchronize(self) -> None:
        self.cu.current()
        assert self.capturing is None, "a wait invalidates the capture"
        while self.pending:
            self.pending.pop(0)()


class Event(Resource):
    cu: FakeDriver

    def __init__(self, flags: int = 0) -> None:
        super().__init__(self.cu)

    def record(self, stream: Any = None) -> "Event":
        self.stream, self.position = stream, len(stream.pending)
        return self

    def synchronize(self) -> "Event":
        self.stream.synchronize()
        return self

    def time_since(self, event: "Event") -> float:
        """A millisecond for everything queued between the two."""
        return float(self.position - event.position)


class FakeLibcuda:
    """The graph functions of libcuda.so.1, called through ctypes with the real prototypes."""

    def __init__(self, cu: FakeDriver) -> None:
        self.cu = cu
        self.refuses_capture = False
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        for name, argument_types in GRAPH_FUNCTIONS.items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int, *argument_types)
            setattr(self, name, prototype(getattr(self, f"_{name}")))

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:  # noqa: N802
        assert mode == 1, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"
        self.cu.streams[stream].capturing = []
        return 0

    def _cuStreamEndCapture(self, stream: int, graph: Any) -> int:  # noqa: N802
        work, self.cu.streams[stream].capturing = self.cu.streams[stream].capturing, None
        if self.refuses_capture:
            return STREAM_CAPTURE_INVALIDATED
        graph[0] = next(self.cu.handles)
        self.graphs[graph[0]] = work
        return 0

    def _cuGraphInstantiateWithFlags(self, executable: Any, graph: int, flags: int) -> int:  # noqa: N802
        assert flags == 0
        executable[0] = next(self.cu.handles)
        self.executables[executable[0]] = self.graphs[graph]
        return 0

    def _cuGraphLaunch(self, executable: int, stream: int) -> int:  # noqa: N802
        self.cu.current()
        for work in self.executables[executable]:
            self.cu.streams[stream].submit(work)
        self.launches += 1
        return 0

    def _cuGraphExecDestroy(self, executable: int) -> int:  # noqa: N802
        del self.executables[executable]
        return 0

    def _cuGraphDestroy(self, graph: int) -> int:  # noqa: N802
        del self.graphs[graph]
        return 0

    def _cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        text[0] = b"operation failed due to a previous error during capture"
        return 0
