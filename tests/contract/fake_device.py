"""Memory and streams of a fake GPU. A stream runs its work when a caller waits for it."""

import threading
from collections.abc import Callable

import numpy as np

ALIGNMENT = 512  # of what cuMemAlloc returns


class Memories:
    """All device memory, of PyCUDA and of other libraries."""

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[int, np.ndarray]] = {}  # address -> (device, bytes)
        self.of_pycuda: set[int] = set()
        self._freed: list[np.ndarray] = []  # keeps addresses from being reused

    def add(self, nbytes: int, device: int) -> int:
        room = np.full(nbytes + ALIGNMENT, 0x55, np.uint8)
        block = room[-room.ctypes.data % ALIGNMENT :][:nbytes]
        self.blocks[block.ctypes.data] = (device, block)
        return block.ctypes.data

    def free(self, address: int) -> None:
        self.of_pycuda.discard(address)
        _, block = self.blocks.pop(address)
        block[:] = 0xDD
        self._freed.append(block)

    def device_of(self, address: int) -> int | None:
        for start, (device, block) in self.blocks.items():
            if start <= address < start + block.nbytes:
                return device
        return None

    def at(self, address: int, nbytes: int) -> np.ndarray:
        for start, (_, block) in self.blocks.items():
            if start <= address < start + block.nbytes:
                offset = address - start
                assert offset + nbytes <= block.nbytes, f"{nbytes} bytes beyond {block.nbytes}"
                return block[offset : offset + nbytes]
        raise AssertionError(f"no memory at {address:#x}: freed, or never allocated")


class Queue:
    """The unfinished work of a stream."""

    lock = threading.RLock()  # shared: one queue may wait for another

    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.is_invalid = False

    def submit(self, work: Callable[[], None]) -> None:
        (self.pending if self.capturing is None else self.capturing).append(work)

    def drain(self) -> None:
        assert self.capturing is None, "a wait invalidates the capture"
        with self.lock:
            while self.pending:
                self.pending.pop(0)()


class Mark:
    """The position in a queue at which an event was recorded."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.position = len(queue.pending)
        self.is_passed = False
        queue.submit(self._pass)

    def _pass(self) -> None:
        self.is_passed = True

    def reach(self) -> None:
        with self.queue.lock:
            while not self.is_passed:
                self.queue.pending.pop(0)()
