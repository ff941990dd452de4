"""Measure all implementations and the rates of their lower bounds, interleaved in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.correlation.floor import Floor, Kind, Rates
from bench.correlation.implementations import (
    BASELINES,
    Implementation,
    UnavailableError,
    open_implementation,
)
from bench.correlation.problem import TOLERANCE, Problem
from bench.correlation.timers import Timer
from bench.harness.interleave import PAUSE_SECONDS, interleave
from bench.harness.stats import summarise
from bench.harness.worker import WARM_UP_SHARE
from bench.report.table import number


@dataclass
class Row:
    """The measurements of one implementation; ``status`` is ``ok``, ``skipped`` or ``failed``.

    ``timers`` and ``samples`` (milliseconds per call) have the keys ``forward`` and, where there is
    a backward pass, ``backward``; they are empty unless ``ok``.
    """

    implementation: Implementation
    status: str = "ok"
    reason: str | None = None
    largest_error: float | None = None
    timers: dict[str, Timer] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.implementation)

    @property
    def forward_ms(self) -> float | None:
        """Median of the forward pass."""
        return float(np.median(self.samples["forward"])) if self.samples else None

    def stop(self, status: str, reason: str) -> None:
        """End the row without a time."""
        self.status, self.reason = status, reason
        self.timers, self.samples = {}, {}

    def to_json(self, baseline_ms: float | None, floor: Floor | None) -> dict[str, Any]:
        """Return an entry of ``rows``, see ``bench.correlation.compare``."""
        forward = self.forward_ms
        samples = {name: self.samples.get(name, []) for name in ("forward", "backward")}
        return {
            "home": self.implementation.name,
            "device": self.implementation.device,
            "dtype": self.implementation.dtype,
            "status": self.status,
            "reason": self.reason,
            "largest_error": number(self.largest_error),
            **{f"{name}_ms": summarise(values) for name, values in samples.items()},
            "speed_up": baseline_ms / forward if forward and baseline_ms else None,
            "times_floor": forward / floor.ms if forward and floor else None,
            **{
                f"raw_{name}_ms": [round(value, 5) for value in values]
                for name, values in samples.items()
            },
        }


def measure(
    implementations: Sequence[Implementation],
    problem: Problem,
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> tuple[list[Row], list[Rates]]:
    """Check every implementation, then measure the correct ones and their rates.

    Args:
        implementations: in the order of their measurement.
        problem: what all of them compute.
        rounds: number of measurements of each.
        seconds: total time of each pass and each rate.
        progress: called with what happens next.

    Returns:
        One row per implementation, in order, and the rates of each kind with a correct one.
    """
    rows = []
    for implementation in implementations:
        progress(f"checking {implementation}")
        rows.append(_checked(implementation, problem))
    kinds = dict.fromkeys(row.implementation.kind for row in rows if row.status == "ok")
    rates = [Rates(kind) for kind in kinds]
    interleave([*rates, *rows], _measure, rounds=rounds, seconds=seconds, progress=progress)
    return rows, rates


def baseline_medians(rows: Sequence[Row]) -> dict[Kind, float]:
    """Return the median of the forward pass of each kind's baseline, where it was measured."""
    return {
        row.implementation.kind: row.forward_ms
        for row in rows
        if row.implementation.name == BASELINES[row.implementation.device]
        and row.forward_ms is not None
    }


def _measure(entry: Row | Rates, seconds: float) -> None:
    """Measure each timer of an entry for ``seconds``; an error ends a row, not the run."""
    try:
        for name, timer in entry.timers.items():
            time.sleep(PAUSE_SECONDS)
            timer(seconds * WARM_UP_SHARE)
            entry.samples[name] += timer(seconds)
    except Exception as error:
        if isinstance(entry, Rates):
            raise
        entry.stop("failed", f"{type(error).__name__}: {error}")


def _checked(implementation: Implementation, problem: Problem) -> Row:
    """Open an implementation and compare its results with the reference."""
    row = Row(implementation)
    try:
        opened = open_implementation(implementation, problem)
    except UnavailableError as error:
        row.stop("skipped", str(error))
        return row
    except Exception as error:
        row.stop("failed", f"{type(error).__name__}: {error}")
        return row
    row.largest_error, allowed = opened.largest_error, TOLERANCE[implementation.dtype]
    row.timers, row.samples = opened.timers, {name: [] for name in opened.timers}
    if not opened.largest_error <= allowed:  # also true for NaN
        row.stop(
            "failed",
            f"its largest error is {opened.largest_error:.2g} of the largest value of "
            f"kernels.reference; allowed is {allowed:g}",
        )
    return row
