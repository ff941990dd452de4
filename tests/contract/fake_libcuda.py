"""The functions of libcuda.so.1 in ``engine.cuda.libcuda``, on a ``FakeDriver``."""

import ctypes
from collections.abc import Callable
from typing import Any

from engine.cuda.libcuda import FUNCTIONS
from tests.contract.fake_device import Mark
from tests.contract.fake_pycuda import FakeDriver

INVALID_VALUE = 1
INVALID_HANDLE = 400
STREAM_CAPTURE_INVALIDATED = 901
UNKNOWN = 999


class FakeLibcuda:
    """Has the real prototypes, as a library loaded by ctypes."""

    def __init__(self, cu: FakeDriver) -> None:
        self.cu = cu
        self.refuses_capture = False
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.events: dict[int, Mark | None] = {}
        self.failure = ""
        for name, argument_types in FUNCTIONS.items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int, *argument_types)
            setattr(self, name, prototype(self._wrapped(getattr(self, f"_{name}"))))

    def _wrapped(self, function: Callable[..., int]) -> Callable[..., int]:
        """Turn exceptions, which ``ctypes`` ignores in callbacks, into errors of the driver."""

        def call(*arguments: Any) -> int:
            try:
                return function(*arguments)
            except Exception as error:
                self.failure = f"{type(error).__name__}: {error}"
                return UNKNOWN

        return call

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:  # noqa: N802
        assert mode == 1, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"
        self.cu.queues[stream].capturing = []
        return 0

    def _cuStreamEndCapture(self, stream: int, graph: Any) -> int:  # noqa: N802
        queue = self.cu.queues[stream]
        work, queue.capturing = queue.capturing, None
        is_invalid, queue.is_invalid = queue.is_invalid, False
        if self.refuses_capture or is_invalid:
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
            self.cu.queues[stream].submit(work)
        self.launches += 1
        return 0

    def _cuGraphExecDestroy(self, executable: int) -> int:  # noqa: N802
        del self.executables[executable]
        return 0

    def _cuGraphDestroy(self, graph: int) -> int:  # noqa: N802
        del self.graphs[graph]
        return 0

    def _cuEventCreate(self, event: Any, flags: int) -> int:  # noqa: N802
        self.cu.current()
        assert flags == 2, "CU_EVENT_DISABLE_TIMING"
        event[0] = next(self.cu.handles)
        self.events[event[0]] = None
        return 0

    def _cuEventRecord(self, event: int, stream: int | None) -> int:  # noqa: N802
        self.cu.current()
        queue = self.cu.queues.get(stream or 0)
        if queue is None:
            return INVALID_HANDLE
        self.events[event] = Mark(queue)
        return 0

    def _cuStreamWaitEvent(self, stream: int | None, event: int, flags: int) -> int:  # noqa: N802
        assert flags == 0
        queue, mark = self.cu.queues.get(stream or 0), self.events[event]
        if queue is None:
            return INVALID_HANDLE
        assert mark is not None, "waiting for an unrecorded event has no effect"
        if mark.queue is not queue:
            queue.submit(mark.reach)
        return 0

    def _cuEventDestroy_v2(self, event: int) -> int:  # noqa: N802
        del self.events[event]
        return 0

    def _cuPointerGetAttribute(self, data: int, attribute: int, pointer: int) -> int:  # noqa: N802
        assert attribute == 9, "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL"
        device = self.cu.memories.device_of(pointer)
        if device is None:
            return INVALID_VALUE
        ctypes.cast(data, ctypes.POINTER(ctypes.c_int))[0] = device
        return 0

    def _cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        texts = {
            INVALID_HANDLE: b"invalid resource handle",
            STREAM_CAPTURE_INVALIDATED: b"operation failed due to a previous error during capture",
        }
        text[0] = texts.get(status, self.failure.encode())
        return 0
