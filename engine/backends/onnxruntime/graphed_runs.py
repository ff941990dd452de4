"""Run pairs one after another, each of the first few sizes as a CUDA graph."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from engine.backends.base import Flows, Images
from engine.backends.onnxruntime.slots import ExecutionSlot
from engine.errors import BackendError, HardwareMissingError, one_line

_log = logging.getLogger("engine")


class GraphedRuns:
    """Runs one pair at a time, each of the first few sizes as a CUDA graph; a ``Runs``.

    ONNX Runtime keeps graphs and CUDA library handles per calling thread, and does not free those
    of a finished thread before the session (``GetPerThreadContext`` in
    cuda_execution_provider.cc). All calls therefore come from one thread.

    Each captured size has its own session, which runs no other size. The run option
    ``gpu_graph_id`` could keep several graphs in one session, but a run at another size may
    overwrite host memory from which a captured Concat reads the addresses of its inputs (until
    https://github.com/microsoft/onnxruntime/pull/32121, August 2026). Further sizes share one
    session without graphs.
    """

    def __init__(self, open_slot: Callable[[bool], ExecutionSlot], max_graphs: int) -> None:
        """Open the first session.

        Args:
            open_slot: opens a session, with CUDA graphs if the argument is true.
            max_graphs: the number of sizes that are captured; each has a copy of the weights.

        Raises:
            BackendError: a session can be opened neither with graphs nor without.
        """
        self._open_slot = open_slot
        self._max_graphs = max_graphs
        self._captured: dict[tuple[int, ...], ExecutionSlot] = {}
        self._fresh: ExecutionSlot | None = None  # opened with graphs, for the next new size
        self._plain: ExecutionSlot | None = None
        self._last: ExecutionSlot | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="onnxruntime")
        try:
            self._thread.submit(self._open).result()
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def run(self, first: Images, second: Images) -> Flows:
        """See ``Runs``."""
        return self._thread.submit(self._run, first, second).result()

    def device_ms(self) -> float | None:
        """See ``Runs``."""
        return self._thread.submit(self._device_ms).result()

    def close(self) -> None:
        """See ``Runs``."""
        self._thread.submit(self._drop).result()
        self._thread.shutdown()

    def _open(self) -> None:
        try:
            self._fresh = self._open_slot(True)
        except HardwareMissingError:
            raise
        except BackendError as error:
            # If CUDA graphs are not the cause, this fails as well, with the reason.
            self._plain = self._open_slot(False)
            self._disable_graphs(one_line(error))

    def _run(self, first: Images, second: Images) -> Flows:
        refused = None
        if first.shape not in self._captured and len(self._captured) < self._max_graphs:
            try:
                return self._capture(first, second)
            except Exception as error:  # ONNX Runtime's exceptions have no common base class
                refused = one_line(error)
        slot = self._captured.get(first.shape) or self._plain_slot()
        flow = slot.run(first, second)
        self._last = slot
        if refused is not None:
            self._disable_graphs(refused)
        return flow

    def _capture(self, first: Images, second: Images) -> Flows:
        slot, self._fresh = self._fresh or self._open_slot(True), None
        flow = slot.run(first, second)  # runs, captures and launches the graph
        self._captured[first.shape] = self._last = slot
        return flow

    def _plain_slot(self) -> ExecutionSlot:
        if self._plain is None:
            self._plain = self._open_slot(False)
            if len(self._captured) == self._max_graphs:
                _log.info("sizes after the first %d run without a CUDA graph", self._max_graphs)
        return self._plain

    def _device_ms(self) -> float | None:
        return None if self._last is None else self._last.device_ms()

    def _disable_graphs(self, reason: str) -> None:
        self._max_graphs = len(self._captured)
        _log.warning("no CUDA graph, kernels are launched one by one: %s", reason)

    def _drop(self) -> None:
        self._captured.clear()
        self._fresh = self._plain = self._last = None
