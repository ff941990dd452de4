"""CUDA graphs: capture the work of a stream once, launch it again as one unit.

https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
"""

import ctypes
import logging
from collections.abc import Callable
from typing import Any

from engine.cuda import libcuda
from engine.errors import BackendError

MAX_GRAPHS = 8

_log = logging.getLogger(__name__)

Addresses = tuple[int, ...]


class Graph:
    """A captured CUDA graph. Create, launch and drop it inside `Device.current`."""

    def __init__(self, stream: Any, enqueue: Callable[[], None]) -> None:
        """Capture what ``enqueue`` puts on ``stream``, without running it.

        Raises:
            BackendError: the work cannot be captured; the stream stays usable.
        """
        self._executable = ctypes.c_void_p()
        self._stream = ctypes.c_void_p(stream.handle)
        graph = ctypes.c_void_p()
        # Thread-local: an allocation by another thread does not invalidate the capture.
        mode = libcuda.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        libcuda.call("cuStreamBeginCapture_v2", self._stream, mode)
        try:
            try:
                enqueue()
            except BaseException:
                # Ends the capture; its own error would only repeat that something failed.
                libcuda.call_unchecked("cuStreamEndCapture", self._stream, ctypes.byref(graph))
                raise
            libcuda.call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            libcuda.call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, 0)
        finally:
            if graph:
                libcuda.call("cuGraphDestroy", graph)

    def __del__(self) -> None:
        """Free the graph; the driver first finishes a launch in progress."""
        if self._executable:
            libcuda.call("cuGraphExecDestroy", self._executable)

    def launch(self) -> None:
        """Enqueue the captured work on the stream of the capture."""
        libcuda.call("cuGraphLaunch", self._executable, self._stream)


class GraphCache:
    """Runs work on tensors at given addresses, as a CUDA graph when the addresses repeat.

    The second run with the same addresses is captured: the first run of a shape lets TensorRT set
    itself up, and addresses that never repeat are not worth a graph. The least recently used of
    more than `MAX_GRAPHS` graphs are dropped.
    """

    def __init__(
        self,
        bind: Callable[[Addresses], None],
        enqueue: Callable[[], None],
        capture: Callable[[Callable[[], None]], Graph] | None,
    ) -> None:
        """Capture nothing yet.

        Args:
            bind: sets the addresses of the tensors.
            enqueue: enqueues the work on the bound addresses.
            capture: returns the graph of what its argument enqueues; None: never capture.
        """
        self._bind = bind
        self._enqueue = enqueue
        self._capture = capture
        # Least recently used first; None: has run once, without a graph.
        self._graphs: dict[Addresses, Graph | None] = {}

    def run(self, addresses: Addresses) -> None:
        """Enqueue the work on tensors at these addresses."""
        is_repeated = addresses in self._graphs
        graph = self._graphs.pop(addresses, None)
        if graph is None:
            self._bind(addresses)
            if is_repeated:
                graph = self._captured()
        if graph is None:
            self._enqueue()
        else:
            graph.launch()
        self._graphs[addresses] = graph
        if len(self._graphs) > MAX_GRAPHS:
            del self._graphs[next(iter(self._graphs))]

    def clear(self) -> None:
        """Drop all graphs, for instance before the shape of the tensors changes."""
        self._graphs.clear()

    def close(self) -> None:
        """Drop the graphs and the functions that refer to the stream."""
        self.__dict__.clear()

    def _captured(self) -> Graph | None:
        if self._capture is None:
            return None
        try:
            return self._capture(self._enqueue)
        except BackendError as error:
            self._capture = None
            _log.warning("no CUDA graph, kernels are launched one by one: %s", error)
            return None
