"""Timers of a call: the host's clock on a CPU, CUDA events on a GPU."""

from collections.abc import Callable
from typing import Any

import torch

from bench.harness.stats import timed_ms

# Calls in one CUDA graph: together they take many times the resolution of events (0.5 us).
GRAPH_CALLS = 20

Call = Callable[[], Any]
# Measures for a number of seconds; returns the milliseconds of each call.
Timer = Callable[[float], list[float]]


def timer(call: Call, device: str) -> Timer:
    """Return the timer of a call on ``cpu`` or ``cuda``."""
    if device == "cpu":
        return lambda seconds: timed_ms(call, seconds=seconds)
    return _GraphTimer(call)


class _GraphTimer:
    """CUDA events around a graph of GRAPH_CALLS calls.

    A launch from Python takes longer than the kernel; in a graph the GPU starts the next kernel
    itself. The inputs stay in the cache, as far as they fit, like those of a layer in a network.
    """

    def __init__(self, call: Call) -> None:
        self._call = call  # keeps the arrays alive that the graph reads and writes
        call()  # libraries initialise themselves, which is not allowed during capture
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            for _ in range(GRAPH_CALLS):
                call()

    def __call__(self, seconds: float) -> list[float]:
        samples: list[float] = []
        timed_ms(lambda: samples.append(self._sample()), seconds=seconds)
        return samples

    def _sample(self) -> float:
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        self._graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / GRAPH_CALLS
