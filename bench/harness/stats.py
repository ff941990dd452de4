"""The timing loop, and statistics of its samples."""

import time
from collections.abc import Callable, Sequence

import numpy as np


def timed_ms(call: Callable[[], object], *, seconds: float, minimum: int = 1) -> list[float]:
    """Call repeatedly for ``seconds``, at least ``minimum`` times.

    Returns:
        Milliseconds per call, from ``perf_counter``, as the caller sees it.
    """
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(samples) < minimum or time.perf_counter() < deadline:
        start = time.perf_counter()
        call()
        samples.append((time.perf_counter() - start) * 1e3)
    return samples


def summarise(samples: Sequence[float]) -> dict[str, float | int] | None:
    """Percentiles (linear interpolation between ranks), mean and number of samples.

    ``n`` shows how reliable p99 is: with fewer than 100 samples it is about the maximum.
    """
    if not samples:
        return None
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return {"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(samples)), "n": len(samples)}


def pairs_per_second(samples: Sequence[float], *, batch: int) -> float:
    """Return the throughput of consecutive calls of ``batch`` pairs each."""
    return float(batch * 1e3 / np.mean(samples))
