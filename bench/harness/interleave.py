"""Rows measured side by side: A B C, A B C, ... so that a noisy machine treats them alike.

How long each round was is kept, so that rows can be compared round by round: a machine that runs
at two speeds, for seconds at a time, gives each row's samples another share of both.
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

# Thread pools spin for a while after their last task (OpenMP runtimes up to 200 ms); a worker's
# turn begins when the one before has gone to sleep.
PAUSE_SECONDS = 0.25


@dataclass
class Measurement:
    """What is known of a row so far; it starts as ``ok`` and may end as something else."""

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
        self.status, self.reason = status, reason
        self.flows = None
        self.latency_ms, self.round_lengths, self.device_ms = [], [], []

    def to_json(self) -> dict[str, Any]:
        """The row's part of the result that does not depend on any other row."""
        return {
            "network": self.row.network,
            "backend": self.row.backend,
            "runtime_version": self.runtime_version,
            "precision": self.row.precision,
            "device": self.device,
            "height": self.row.height,
            "width": self.row.width,
            "batch": self.row.batch,
            "status": self.status,
            "reason": self.reason,
            "latency_ms": summarise(self.latency_ms),
            "device_ms": summarise(self.device_ms),
            "fps": pairs_per_second(self.latency_ms, batch=self.row.batch)
            if self.latency_ms
            else None,
            "peak_memory_mb": self.peak_memory_mb,
            "raw_latency_ms": [round(sample, 4) for sample in self.latency_ms],
            "round_lengths": self.round_lengths,
        }


def measure_together(
    jobs: Sequence[tuple[Row, Job]],
    *,
    rounds: int,
    seconds: float,
    folder: Path,
    progress: Callable[[str], None],
) -> list[Measurement]:
    """Open one process per row, then measure them in turn, ``rounds`` times.

    Args:
        jobs: rows, and what their workers are told.
        rounds: turns that each row gets.
        seconds: time that each row gets over all its turns.
        folder: existing folder for the flows, one file per row.
        progress: told what happens next, ``rounds + 1`` times per row.

    Returns:
        One measurement per row, in order. A row that fails ends there; the others go on.
    """
    measurements = [Measurement(row) for row, _ in jobs]
    workers: dict[int, WorkerProcess] = {}
    with ExitStack() as closing:
        for index, (row, job) in enumerate(jobs):
            progress(f"opening {row}")
            with _ending(measurements[index]):
                workers[index] = WorkerProcess(job)
                closing.callback(workers[index].close)
                _take_flows(measurements[index], workers[index], folder / f"{index}.npy")
        for turn in range(rounds):
            for index, measurement in enumerate(measurements):
                progress(f"round {turn + 1} of {rounds}: {measurement.row}")
                if measurement.status == "ok":
                    time.sleep(PAUSE_SECONDS)
                    with _ending(measurement):
                        _take_turn(measurement, workers[index], seconds=seconds / rounds)
    return measurements


@contextmanager
def _ending(measurement: Measurement) -> Iterator[None]:
    """Let a worker's error end its row instead of the run."""
    try:
        yield
    except WorkerError as error:
        measurement.stop(error.status, str(error))


def _take_flows(measurement: Measurement, worker: WorkerProcess, file: Path) -> None:
    measurement.device, measurement.runtime_version = worker.device, worker.runtime_version
    worker.ask({"flows": str(file)})
    flows = np.load(file)
    file.unlink()
    if not np.isfinite(flows).all():
        raise WorkerError("failed", "its flow has values that are no finite numbers")
    measurement.flows = flows


def _take_turn(measurement: Measurement, worker: WorkerProcess, *, seconds: float) -> None:
    answer = worker.ask({"measure": seconds}, seconds=seconds)
    measurement.latency_ms += answer["latency_ms"]
    measurement.round_lengths.append(len(answer["latency_ms"]))
    measurement.device_ms += answer["device_ms"]
    measurement.peak_memory_mb = answer["peak_memory_mb"]
