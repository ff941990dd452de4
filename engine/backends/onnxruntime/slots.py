"""Run pairs on an ONNX Runtime GPU provider: concurrently, or one after another as CUDA graphs.

A session with CUDA graphs must not run in two threads at once. CUDA graphs give the lowest latency
of one flow, concurrent runs the highest throughput.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview
"""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import LifoQueue
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from engine.backends.base import INPUTS, OUTPUT, Flows, Images


class ExecutionSlot:
    """A session with its inputs and output bound on the device, for one caller at a time.

    The buffers are allocated for the size of a pair and stay in place until the size changes.
    """

    def __init__(self, ort: ModuleType, session: Any, device: tuple[str, int]) -> None:
        """Bind nothing yet.

        Args:
            ort: the module ``onnxruntime``.
            session: an ``InferenceSession``.
            device: type and index as ONNX Runtime names them, for instance ``("cuda", 0)``.
        """
        self._session = session
        self._binding = session.io_binding()
        self._new = functools.partial(
            ort.OrtValue.ortvalue_from_shape_and_type, device_type=device[0], device_id=device[1]
        )
        self._images: list[Any] = []
        self._shape: tuple[int, ...] | None = None

    def run(self, first: Images, second: Images) -> Flows:
        """Return the flow (N, H, W, 2) of two (N, H, W, 3) images, in new memory."""
        if first.shape != self._shape:
            self._bind(first.shape)
        for value, image in zip(self._images, (first, second), strict=True):
            value.update_inplace(image)
        self._session.run_with_iobinding(self._binding)
        # `OrtValue.numpy` copies from a GPU, but on a CPU it is a view of the bound output.
        flow: Flows
        (flow,) = self._binding.copy_outputs_to_cpu()
        return flow

    def device_ms(self) -> float | None:
        """Return the milliseconds of one more run with the last images; None before any run."""
        if self._shape is None:
            return None
        start = time.perf_counter()
        self._session.run_with_iobinding(self._binding)  # returns when the GPU has finished
        return (time.perf_counter() - start) * 1e3

    def _bind(self, shape: tuple[int, ...]) -> None:
        # Free the old buffers first: the device may not have room for both.
        self._shape, self._images = None, []
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        for name in INPUTS:
            self._images.append(self._new(shape, np.uint8))
            self._binding.bind_ortvalue_input(name, self._images[-1])
        self._binding.bind_ortvalue_output(OUTPUT, self._new((*shape[:3], 2), np.float32))
        self._shape = shape


class Runs(Protocol):
    """Runs pairs of images; thread-safe."""

    def run(self, first: Images, second: Images) -> Flows:
        """See ``ExecutionSlot.run``."""
        ...

    def device_ms(self) -> float | None:
        """See ``ExecutionSlot.device_ms``, for the pair that ran last."""
        ...

    def close(self) -> None:
        """Wait for the running callers, then free everything."""
        ...


class ConcurrentRuns:
    """Runs as many pairs at once as there are slots; further callers wait."""

    def __init__(self, slots: Sequence[ExecutionSlot]) -> None:
        """Use these slots, whose sessions run without CUDA graphs."""
        self._count = len(slots)
        # Last in, first out: slots that are never needed allocate no buffers.
        self._idle: LifoQueue[ExecutionSlot] = LifoQueue()
        for slot in slots:
            self._idle.put(slot)

    def run(self, first: Images, second: Images) -> Flows:
        """See ``Runs``."""
        with self._slot() as slot:
            return slot.run(first, second)

    def device_ms(self) -> float | None:
        """See ``Runs``."""
        with self._slot() as slot:
            return slot.device_ms()

    def close(self) -> None:
        """See ``Runs``."""
        for _ in range(self._count):
            self._idle.get()

    @contextmanager
    def _slot(self) -> Iterator[ExecutionSlot]:
        slot = self._idle.get()
        try:
            yield slot
        finally:
            self._idle.put(slot)
