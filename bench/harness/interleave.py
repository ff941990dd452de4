"""Rows are measured in rounds (A B C, A B C, ...), so that load from elsewhere affects them alike.

The length of each round is kept, so that rows can be compared round by round: where the machine's
speed changes during a run, each row has another share of fast and slow samples.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.arrays import load_arrays, save_arrays
from bench.harness.plan import Row
from bench.harness.stats import pairs_per_second, summarise
from bench.harness.worker import Job
from bench.harness.worker_client import WorkerError, WorkerProcess
from engine.data.pair import Pair
from engine.types import Flow, Image

# Threads of a pool keep spinning after their last task (OpenMP: up to 200 ms). The pause lets those
# of the previous worker go to sleep.
PAUSE_SECONDS = 0.25

# Gets a row's flows of some pairs.
Record = Callable[[Row, Sequence[Pair], list[Flow]], None]


@dataclass
class Measurement:
    """The measurements of one row; ``status`` is ``ok``, ``skipped`` or ``failed``."""

    row: Row
    status: str = "ok"
    reason: str | None = None
    runtime_version: str | None = None
    device: str | None = None
    latency_ms: list[float] = field(default_factory=list)
    round_lengths: list[int] = field(default_factory=list)
    device_ms: list[float] = field(default_factory=list)
    peak_memory_mb: float | None = None

    def stop(self, status: str, reason: str) -> None:
        """End the row without a result."""
        self.status, self.reason = status, reason
        self.latency_ms, self.round_lengths, self.device_ms = [], [], []

    def to_json(self) -> dict[str, Any]:
        """Return the part of the row's JSON object that does not depend on other rows."""
        latency, batch = self.latency_ms, self.row.batch
        height, width = self.row.size or (None, None)
        return {
            "network": self.row.network,
            "backend": self.row.backend,
            "runtime_version": self.runtime_version,
            "precision": self.row.precision,
            "device": self.device,
            "height": height,
            "width": width,
            "batch": batch,
            "status": self.status,
            "reason": self.reason,
            "latency_ms": summarise(latency),
            "device_ms": summarise(self.device_ms),
            "fps": pairs_per_second(latency, batch=batch) if latency else None,
            "peak_memory_mb": self.peak_memory_mb,
            "raw_latency_ms": [round(sample, 4) for sample in latency],
            "round_lengths": self.round_lengths,
        }


def interleave(
    entries: Sequence[Any],
    measure: Callable[[Any, float], None],
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> None:
    """Call ``measure(entry, seconds / rounds)`` for each entry in turn, ``rounds`` times.

    Args:
        entries: what is measured; its string is shown as progress.
        measure: measures one entry for a time.
        rounds: number of measurements of each entry.
        seconds: total time of each entry.
        progress: called with what happens next, ``rounds`` times per entry.
    """
    for current in range(rounds):
        for entry in entries:
            progress(f"round {current + 1} of {rounds}: {entry}")
            measure(entry, seconds / rounds)


def measure_rows(
    jobs: Sequence[tuple[Row, Job]],
    *,
    untimed: Row | None = None,
    chunks: Iterable[Sequence[Pair]],
    record: Record,
    rounds: int,
    seconds: float,
    folder: Path,
    progress: Callable[[str], None],
) -> list[Measurement]:
    """Open one process per row and compute its flows, then measure the rows interleaved.

    Args:
        jobs: rows with their workers' jobs.
        untimed: a row whose flows alone are computed.
        chunks: all pairs, some at a time: those in memory.
        record: called with the flows of each row, in order, for each chunk.
        rounds: number of measurements of each row.
        seconds: total time of each row.
        folder: existing folder for images and flows.
        progress: called with what happens next: ``rounds + 1`` times per timed row, once per chunk.

    Returns:
        One measurement per row, in order. A row that fails ends there; the others continue.
    """
    measurements = [Measurement(row) for row, _ in jobs]
    workers: dict[Row, WorkerProcess] = {}

    def measure(row: Row, seconds: float) -> None:
        measurement = by_row[row]
        if measurement.status == "ok":
            time.sleep(PAUSE_SECONDS)
            with _recording_errors(measurement):
                _measure(measurement, workers[row], seconds=seconds)

    by_row = {measurement.row: measurement for measurement in measurements}
    with ExitStack() as closing:
        for row, job in jobs:
            if row != untimed:
                progress(f"opening {row}")
            with _recording_errors(by_row[row]):
                workers[row] = WorkerProcess(job)
                closing.callback(workers[row].close)
                by_row[row].device = workers[row].device
                by_row[row].runtime_version = workers[row].runtime_version
        for pairs in chunks:
            progress(f"computing flows, from {pairs[0].name} on")
            save_arrays(folder / "images.npz", images_of(pairs))
            for row in (each.row for each in measurements if each.status == "ok"):
                with _recording_errors(by_row[row]):
                    record(row, pairs, _flows(workers[row], folder))
        timed = [row for row in by_row if row != untimed]
        interleave(timed, measure, rounds=rounds, seconds=seconds, progress=progress)
    return measurements


def images_of(pairs: Iterable[Pair]) -> Iterator[Image]:
    """Yield both images of each pair, as a `Job` has them."""
    for pair in pairs:
        yield from (pair.image1, pair.image2)


@contextmanager
def _recording_errors(measurement: Measurement) -> Iterator[None]:
    """End the row, not the run, on a worker's error."""
    try:
        yield
    except WorkerError as error:
        measurement.stop(error.status, str(error))


def _flows(worker: WorkerProcess, folder: Path) -> list[Flow]:
    file = folder / "flows.npz"
    worker.ask({"flows": [str(folder / "images.npz"), str(file)]})
    flows = load_arrays(file)
    if not all(np.isfinite(flow).all() for flow in flows):
        raise WorkerError("failed", "its flow contains values that are not finite")
    return flows


def _measure(measurement: Measurement, worker: WorkerProcess, *, seconds: float) -> None:
    answer = worker.ask({"measure": seconds}, seconds=seconds)
    measurement.latency_ms += answer["latency_ms"]
    measurement.round_lengths.append(len(answer["latency_ms"]))
    measurement.device_ms += answer["device_ms"]
    measurement.peak_memory_mb = answer["peak_memory_mb"]
