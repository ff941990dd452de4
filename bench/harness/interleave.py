"""Rows are measured in rounds (A B C, A B C, ...), so that load from elsewhere affects them alike.

The length of each round is kept, so that rows can be compared round by round: where the machine's
speed changes during a run, each row has another share of fast and slow samples.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness.plan import Row
from bench.harness.stats import pairs_per_second, summarise
from bench.harness.worker import Job
from bench.harness.worker_client import WorkerError, WorkerProcess

# Threads of a pool keep spinning after their last task (OpenMP: up to 200 ms). The pause lets those
# of the previous worker go to sleep.
PAUSE_SECONDS = 0.25


@dataclass
class Measurement:
    """The measurements of one row; ``status`` is ``ok``, ``skipped`` or ``failed``."""

    row: Row
    status: str = "ok"
    reason: str | None = None
    runtime_version: str | None = None
    device: str | None = None
    flows: NDArray[np.float32] | None = None
    latency_ms: list[float] = field(default_factory=list)
    round_lengths: list[int] = field(default_factory=list)
    device_ms: list[float] = field(default_factory=list)
    peak_memory_mb: float | None = None

    def stop(self, status: str, reason: str) -> None:
        """End the row without a result."""
        self.status, self.reason = status, reason
        self.flows = None
        self.latency_ms, self.round_lengths, self.device_ms = [], [], []

    def to_json(self) -> dict[str, Any]:
        """Return the part of the row's JSON object that does not depend on other rows."""
        latency, batch = self.latency_ms, self.row.batch
        return {
            "network": self.row.network,
            "backend": self.row.backend,
            "runtime_version": self.runtime_version,
            "precision": self.row.precision,
            "device": self.device,
            "height": self.row.height,
            "width": self.row.width,
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
    rounds: int,
    seconds: float,
    folder: Path,
    progress: Callable[[str], None],
) -> list[Measurement]:
    """Open one process per row and compute its flows, then measure the rows interleaved.

    Args:
        jobs: rows with their workers' jobs.
        rounds: number of measurements of each row.
        seconds: total time of each row.
        folder: existing folder for the flows, one file per row.
        progress: called with what happens next, ``rounds + 1`` times per row.

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
        for index, (row, job) in enumerate(jobs):
            progress(f"opening {row}")
            with _recording_errors(by_row[row]):
                workers[row] = WorkerProcess(job)
                closing.callback(workers[row].close)
                _compute_flows(by_row[row], workers[row], folder / f"{index}.npy")
        interleave(list(by_row), measure, rounds=rounds, seconds=seconds, progress=progress)
    return measurements


@contextmanager
def _recording_errors(measurement: Measurement) -> Iterator[None]:
    """End the row, not the run, on a worker's error."""
    try:
        yield
    except WorkerError as error:
        measurement.stop(error.status, str(error))


def _compute_flows(measurement: Measurement, worker: WorkerProcess, file: Path) -> None:
    measurement.device, measurement.runtime_version = worker.device, worker.runtime_version
    worker.ask({"flows": str(file)})
    flows = np.load(file)
    file.unlink()
    if not np.isfinite(flows).all():
        raise WorkerError("failed", "its flow contains values that are not finite")
    measurement.flows = flows


def _measure(measurement: Measurement, worker: WorkerProcess, *, seconds: float) -> None:
    answer = worker.ask({"measure": seconds}, seconds=seconds)
    measurement.latency_ms += answer["latency_ms"]
    measurement.round_lengths.append(len(answer["latency_ms"]))
    measurement.device_ms += answer["device_ms"]
    measurement.peak_memory_mb = answer["peak_memory_mb"]
