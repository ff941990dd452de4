"""The homes of the correlation and the rates of their floors, measured side by side.

All run interleaved in one process (A B C, A B C, ...), as in ``bench.harness.interleave``, so
that a noisy machine affects them alike.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench.correlation.implementations import (
    BASES,
    Home,
    Measure,
    UnavailableError,
    copy,
    matrix_product,
    open_home,
)
from bench.correlation.problem import TOLERANCE, Floor, Problem, Setting
from bench.harness.interleave import PAUSE_SECONDS
from bench.harness.stats import summarise
from bench.harness.worker import WARM_UP_SHARE
from bench.report.table import number

Kind = tuple[str, str]  # device and type


@dataclass
class Timed:
    """Something that takes turns; ``samples`` are milliseconds."""

    measure: Measure
    samples: list[float] = field(default_factory=list)

    def take_turn(self, seconds: float) -> None:
        time.sleep(PAUSE_SECONDS)
        self.measure(seconds * WARM_UP_SHARE)
        self.samples += self.measure(seconds)

    @property
    def p50(self) -> float:
        return float(np.median(self.samples))


@dataclass
class Row:
    """What is known of a home so far; it starts as ``ok`` and may end as something else.

    ``passes`` are ``forward`` and, where the home has one, ``backward``; none unless ``ok``.
    """

    home: Home
    status: str = "ok"
    reason: str | None = None
    largest_error: float | None = None
    passes: dict[str, Timed] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.home)

    def stop(self, status: str, reason: str) -> None:
        self.status, self.reason = status, reason
        self.passes = {}

    def take_turn(self, seconds: float) -> None:
        """Measure each pass for ``seconds``; an error ends the row instead of the run."""
        try:
            for timed in self.passes.values():
                timed.take_turn(seconds)
        except Exception as error:
            self.stop("failed", f"{type(error).__name__}: {error}")

    def to_json(self, base_ms: float | None, floor: Floor | None) -> dict[str, Any]:
        """See ``bench.correlation``; ``base_ms`` is the median of the row's base."""
        forward = self.passes.get("forward")
        samples = {
            name: self.passes[name].samples if name in self.passes else []
            for name in ("forward", "backward")
        }
        return {
            "home": self.home.name,
            "device": self.home.device,
            "dtype": self.home.dtype,
            "status": self.status,
            "reason": self.reason,
            "largest_error": number(self.largest_error),
            **{f"{name}_ms": summarise(values) for name, values in samples.items()},
            "speed_up": base_ms / forward.p50 if forward and base_ms else None,
            "times_floor": forward.p50 / floor.ms if forward and floor else None,
            **{f"raw_{name}_ms": _rounded(values) for name, values in samples.items()},
        }


@dataclass(frozen=True)
class Rates:
    """What bounds the homes of one kind; ``operations`` and ``bytes`` are those of one call."""

    kind: Kind
    product: Timed
    operations: int
    copy: Timed
    bytes: int

    @classmethod
    def of(cls, kind: Kind) -> "Rates":
        product, operations = matrix_product(*kind)
        copying, copied = copy(kind[0])
        return cls(kind, Timed(product), operations, Timed(copying), copied)

    def __str__(self) -> str:
        return f"rates of {' '.join(self.kind)}"

    def take_turn(self, seconds: float) -> None:
        for timed in (self.product, self.copy):
            timed.take_turn(seconds)

    def floor(self, setting: Setting) -> Floor:
        # The fastest sample: what the machine can do. A call this long rarely goes without a pause
        # on a busy machine, so its median would be a lower rate than short calls get.
        return Floor(
            operations=setting.operations,
            bytes=setting.bytes(self.kind[1]),
            matmul_gflops=self.operations / min(self.product.samples) / 1e6,
            copy_gb_s=self.bytes / min(self.copy.samples) / 1e6,
        )

    def to_json(self, setting: Setting) -> dict[str, Any]:
        """See ``bench.correlation``."""
        floor = self.floor(setting)
        return {
            "device": self.kind[0],
            "dtype": self.kind[1],
            **asdict(floor),
            "operations_padded": setting.operations_padded,
            "compute_ms": floor.compute_ms,
            "traffic_ms": floor.traffic_ms,
            "floor_ms": floor.ms,
            "raw_matmul_ms": _rounded(self.product.samples),
            "raw_copy_ms": _rounded(self.copy.samples),
        }


def measure_together(
    homes: Sequence[Home],
    problem: Problem,
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> tuple[list[Row], list[Rates]]:
    """Check every home, then measure those that are right, and their rates, ``rounds`` times.

    Args:
        homes: in the order of their turns.
        problem: what all of them compute.
        rounds: turns that each gets.
        seconds: time of each pass and each rate over all its turns.
        progress: told what happens next.

    Returns:
        One row per home, in order, and the rates of each kind of which a home was right.
    """
    rows = []
    for home in homes:
        progress(f"checking {home}")
        rows.append(_checked(home, problem))
    kinds = dict.fromkeys(row.home.kind for row in rows if row.status == "ok")
    rates = [Rates.of(kind) for kind in kinds]
    entries: list[Rates | Row] = [*rates, *rows]
    for turn in range(rounds):
        for entry in entries:
            progress(f"round {turn + 1} of {rounds}: {entry}")
            entry.take_turn(seconds / rounds)
    return rows, rates


def base_medians(rows: Sequence[Row]) -> dict[Kind, float]:
    """Median of the forward pass of each kind's base, where it was measured."""
    return {
        row.home.kind: row.passes["forward"].p50
        for row in rows
        if row.status == "ok" and row.home.name == BASES[row.home.device]
    }


def _checked(home: Home, problem: Problem) -> Row:
    """Open a home and hold its results against the reference; a wrong one is not measured."""
    row = Row(home)
    try:
        opened = open_home(home, problem)
    except UnavailableError as error:
        row.stop("skipped", str(error))
        return row
    except Exception as error:
        row.stop("failed", f"{type(error).__name__}: {error}")
        return row
    row.largest_error, allowed = opened.largest_error, TOLERANCE[home.dtype]
    row.passes = {name: Timed(measure) for name, measure in opened.passes.items()}
    if not opened.largest_error <= allowed:  # a NaN is not either
        row.stop(
            "failed",
            f"its largest error is {opened.largest_error:.2g} of the largest value that "
            f"kernels.reference expects; allowed is {allowed:g}",
        )
    return row


def _rounded(samples: Sequence[float]) -> list[float]:
    return [round(sample, 5) for sample in samples]
