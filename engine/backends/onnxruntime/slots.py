"""How pairs get through ONNX Runtime on a GPU: one after another, or several side by side.

A session with CUDA graphs may not run in two threads at once, so it is either: graphs for the least
time of one flow, or overlap for the most flows.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import LifoQueue
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.backends.registry import one_line
from engine.errors import BackendError, HardwareMissingError

INPUTS = ("image1", "image2")
OUTPUT = "flow"

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]

_log = logging.getLogger("engine")


class Lane:
    """A session with inputs and output on the device, for one caller at a time.

    They are made for the size of a pair, and stay where they are until one of another size comes.
    """

    def __init__(self, ort: ModuleType, session: Any, device: tuple[str, int]) -> None:
        """Bind nothing yet; ``device`` is ONNX Runtime's, for instance ``("cuda", 0)``."""
        self._session = session
        self._binding = session.io_binding()
        self._new = functools.partial(
            ort.OrtValue.ortvalue_from_shape_and_type, device_type=device[0], device_id=device[1]
        )
        self._images: list[Any] = []
        self._shape: tuple[int, ...] | None = None

    def run(self, first: Image, second: Image) -> Flow:
        """Return the flow (N, H, W, 2) of two (N, H, W, 3) images, in memory of its own."""
        if first.shape != self._shape:
            self._fit(first.shape)
        for value, image in zip(self._images, (first, second), strict=True):
            value.update_inplace(image)
        self._session.run_with_iobinding(self._binding)
        # `OrtValue.numpy` copies from a GPU, but on a CPU it is a view of what the next run writes.
        flow: Flow
        (flow,) = self._binding.copy_outputs_to_cpu()
        return flow

    def device_ms(self) -> float | None:
        """Run the last images, which are on the device, once more; None before any run."""
        if self._shape is None:
            return None
        start = time.perf_counter()
        self._session.run_with_iobinding(self._binding)  # returns when the GPU is done
        return (time.perf_counter() - start) * 1e3

    def _fit(self, shape: tuple[int, ...]) -> None:
        # The old ones go first: the device need not hold both.
        self._shape, self._images = None, []
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        for name in INPUTS:
            self._images.append(self._new(shape, np.uint8))
            self._binding.bind_ortvalue_input(name, self._images[-1])
        self._binding.bind_ortvalue_output(OUTPUT, self._new((*shape[:3], 2), np.float32))
        self._shape = shape


class Runs(Protocol):
    """What a backend calls, from any thread."""

    def run(self, first: Image, second: Image) -> Flow:
        """See ``Lane.run``."""
        ...

    def device_ms(self) -> float | None:
        """See ``Lane.device_ms``; of the pair that ran last."""
        ...

    def close(self) -> None:
        """Wait for the callers inside, then free everything."""
        ...


class SideBySide:
    """Runs as many pairs at once as there are lanes; one more caller than that waits."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        """Take over lanes of one session, or of several, without CUDA graphs."""
        self._count = len(lanes)
        # Last in, first out: as few lanes as possible ever hold buffers.
        self._idle: LifoQueue[Lane] = LifoQueue()
        for lane in lanes:
            self._idle.put(lane)

    def run(self, first: Image, second: Image) -> Flow:
        """See ``Runs``."""
        with self._lane() as lane:
            return lane.run(first, second)

    def device_ms(self) -> float | None:
        """See ``Runs``."""
        with self._lane() as lane:
            return lane.device_ms()

    def close(self) -> None:
        """See ``Runs``."""
        for _ in range(self._count):
            self._idle.get()

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._idle.get()
        try:
            yield lane
        finally:
            self._idle.put(lane)


class OneAtATime:
    """Runs one pair after another, the first few sizes each as a CUDA graph.

    ONNX Runtime keeps graphs, and its CUDA libraries' handles with them, for each calling thread,
    and for a thread that has ended as long as the session (``GetPerThreadContext`` in its
    cuda_execution_provider.cc): all calls come from one thread, whoever the caller is.

    A captured size has a session of its own, in which nothing else ever runs. The run option
    ``gpu_graph_id`` would tell the graphs of one session apart, but a run at another size may
    overwrite host memory from which a captured Concat reads its inputs' addresses (until
    https://github.com/microsoft/onnxruntime/pull/32121, August 2026). Further sizes share one
    session without graphs.
    """

    def __init__(self, open_lane: Callable[[bool], Lane], most: int) -> None:
        """Open the first session.

        Args:
            open_lane: opens a session, with CUDA graphs or without, and returns a lane of it.
            most: how many sizes are captured; each holds the weights once more.

        Raises:
            BackendError: Neither kind can be opened.
        """
        self._open_lane = open_lane
        self._most = most
        self._captured: dict[tuple[int, ...], Lane] = {}
        self._fresh: Lane | None = None  # opened with graphs, for the next new size
        self._plain: Lane | None = None
        self._last: Lane | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="onnxruntime")
        self._thread.submit(self._open).result()

    def run(self, first: Image, second: Image) -> Flow:
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
            self._fresh = self._open_lane(True)
        except HardwareMissingError:
            raise
        except BackendError as error:
            # If it was not for the graphs, this fails as well and says why.
            self._plain = self._open_lane(False)
            self._do_without(one_line(error))

    def _run(self, first: Image, second: Image) -> Flow:
        refused = None
        if first.shape not in self._captured and len(self._captured) < self._most:
            try:
                return self._capture(first, second)
            except Exception as error:  # ONNX Runtime's own errors share no other base
                refused = one_line(error)
        lane = self._captured.get(first.shape) or self._without_graphs()
        flow = lane.run(first, second)
        self._last = lane
        if refused is not None:
            self._do_without(refused)
        return flow

    def _capture(self, first: Image, second: Image) -> Flow:
        lane, self._fresh = self._fresh or self._open_lane(True), None
        flow = lane.run(first, second)  # runs, captures and launches the graph
        self._captured[first.shape] = self._last = lane
        return flow

    def _without_graphs(self) -> Lane:
        if self._plain is None:
            self._plain = self._open_lane(False)
            if len(self._captured) == self._most:
                _log.info("sizes after the first %d run without a CUDA graph", self._most)
        return self._plain

    def _device_ms(self) -> float | None:
        return None if self._last is None else self._last.device_ms()

    def _do_without(self, reason: str) -> None:
        self._most = len(self._captured)
        _log.warning("no CUDA graph, kernels are launched one by one: %s", reason)

    def _drop(self) -> None:
        self._captured.clear()
        self._fresh = self._plain = self._last = None
