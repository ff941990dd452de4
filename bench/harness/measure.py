"""Measure the rows of a group and compute the error of their flows."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bench.data import PairSet
from bench.environment import ModuleError, RefusedError
from bench.harness.arrays import save_arrays
from bench.harness.bundles import Bundles
from bench.harness.errors import Errors
from bench.harness.interleave import Measurement, images_of, measure_rows
from bench.harness.plan import Row, Size
from bench.harness.worker import Job
from bench.runners.registry import REFERENCE
from engine.data.pair import Pair
from engine.data.resize import resize_pair
from engine.errors import BackendError, EngineError
from engine.types import Flow

TIMED_PAIRS = 8  # at most; their images stay in the memory of each worker
AT_ONCE = 8  # pairs whose flows a worker computes before the next one, at least a batch

NOTES = {
    "unrefined": "without refinement the flow differs from PyTorch's refined one",
    "compensated": "with global motion compensation the flow differs from PyTorch's",
    "tiled": "in tiles the flow differs from PyTorch's",
    "downscaled": "at a smaller size the flow differs from PyTorch's",
    "many": "one pair per thread at the same time: times are per result, not latencies",
}
# Methods whose flow differs from that of the network, and those that compute pairs together.
UNLIKE = ("opencv", "unrefined", "compensated", "tiled", "downscaled")
TOGETHER = ("stream", "many")
# Figures that a row has only if it ran.
UNKNOWN = (
    "weights_sha256", "gflop", "epe", "epe_by_pair", "fl_all", "scores", "epe_vs_reference"
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Settings that all rows of a run share.

    Attributes:
        rounds: number of measurements of each row.
        seconds: total time of each row.
        threads: CPU threads of each runtime.
        has_gpu: whether rows that need a GPU are tried.
        folder: existing folder for files that workers read and write.
    """

    rounds: int
    seconds: float
    threads: int
    has_gpu: bool
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """A row's JSON object, and its flow (H, W, 2) of the first pair for a picture."""

    row: Row
    entry: dict[str, Any]
    first_flow: Flow | None


def steps(rows: Sequence[Row], *, pairs: PairSet, rounds: int) -> int:
    """Return how often `measure_group` calls ``progress``."""
    chunks = -(-len(pairs) // _together(rows))
    return len(rows) * (rounds + 1) + chunks


def measure_group(
    rows: Sequence[Row],
    *,
    pairs: PairSet,
    bundles: Bundles,
    setting: Setting,
    progress: Callable[[str], None],
) -> list[Outcome]:
    """Measure rows of one size interleaved; each becomes an outcome, in order.

    ``progress`` is called with what happens next, see `steps`.
    """
    size = rows[0].size
    timed = _write_timed(pairs, size, setting.folder)
    jobs, found = _jobs(rows, timed, bundles=bundles, setting=setting)
    for row, measurement in found.items():
        for _ in range(setting.rounds + 1):
            progress(f"{measurement.status}: {row}")
    reference = _reference_row(jobs)
    untimed = None if reference in rows else reference
    if untimed is not None:
        more_jobs, more_found = _jobs([untimed], timed, bundles=bundles, setting=setting)
        jobs, found = jobs | more_jobs, found | more_found
    recorder = _Recorder(reference)
    measured = measure_rows(
        sorted(jobs.items(), key=lambda job: job[0] != reference),  # the reference is the first
        untimed=untimed,
        chunks=_chunks(pairs, size, _together(rows)),
        record=recorder,
        rounds=setting.rounds,
        seconds=setting.seconds,
        folder=setting.folder,
        progress=progress,
    )
    found |= {measurement.row: measurement for measurement in measured}
    missing = _missing(reference, found)
    return [
        _outcome(found[row], recorder.errors[row], missing=missing, bundles=bundles) for row in rows
    ]


class _Recorder:
    """Adds the flows of all rows to their errors."""

    def __init__(self, reference: Row | None) -> None:
        self.errors: dict[Row, Errors] = defaultdict(Errors)
        self._reference = reference
        self._pairs: Sequence[Pair] = ()
        self._flows: Sequence[Flow] = ()

    def __call__(self, row: Row, pairs: Sequence[Pair], flows: list[Flow]) -> None:
        if row == self._reference:
            self._pairs, self._flows = pairs, flows
        # Of the same pairs only: the reference may have ended.
        has_reference = self._pairs is pairs and row.method.kind not in UNLIKE
        self.errors[row].add(pairs, flows, self._flows if has_reference else None)


def _jobs(
    rows: Iterable[Row], timed: Path, *, bundles: Bundles, setting: Setting
) -> tuple[dict[Row, Job], dict[Row, Measurement]]:
    """Return the jobs of the rows that can run here, and the result of each other row."""
    jobs: dict[Row, Job] = {}
    stopped: dict[Row, Measurement] = {}
    for row in rows:
        job = _job_or_reason(row, timed, bundles=bundles, setting=setting)
        if isinstance(job, Job):
            jobs[row] = job
        else:
            stopped[row] = Measurement(row)
            stopped[row].stop(*job)
    return jobs, stopped


def _together(rows: Sequence[Row]) -> int:
    """Return how many pairs are in memory: a multiple of the largest batch."""
    batch = max(row.batch for row in rows)
    return batch * max(1, AT_ONCE // batch)


def _chunks(pairs: PairSet, size: Size | None, count: int) -> Iterator[list[Pair]]:
    reading = (_resized(pair, size) for pair in pairs.read())
    while chunk := list(islice(reading, count)):
        yield chunk


def _resized(pair: Pair, size: Size | None) -> Pair:
    return pair if size is None else resize_pair(pair, *size)


def _write_timed(pairs: PairSet, size: Size | None, folder: Path) -> Path:
    file = folder / "timed.npz"
    save_arrays(file, images_of(_resized(pair, size) for pair in pairs.read(TIMED_PAIRS)))
    return file


def _job_or_reason(
    row: Row, timed: Path, *, bundles: Bundles, setting: Setting
) -> Job | tuple[str, str]:
    """Return the job of a row's worker, or the status and reason with which the row ends."""
    reason = row.method.unavailable(has_gpu=setting.has_gpu)
    if reason is not None:
        return "skipped", reason
    if row.size is None and row.method.kind in TOGETHER:
        return "skipped", "it needs pairs of one size: choose it with --sizes HxW"
    job = Job(
        factory=row.method.factory,
        network=row.network,
        backend=row.backend,
        precision=row.precision,
        batch=row.batch,
        threads=setting.threads,
        pairs=str(timed),
    )
    kind = row.method.kind
    try:
        if kind == "pytorch":
            weights = bundles.weights_for(row.network)
            return replace(job, weights=str(weights.path) if weights else None)
        if kind == "opencv":
            return job
        bundle = bundles.bundle_for(row)
        multiple = bundle.manifest.divisor if kind == "bare" else 1
        return replace(job, bundle=str(bundle.path), multiple=multiple)
    except (BackendError, RefusedError) as error:
        return "skipped", str(error)
    except (EngineError, ModuleError, OSError) as error:
        return "failed", f"{type(error).__name__}: {error}"


def _reference_row(rows: Iterable[Row]) -> Row | None:
    """Return the row of fp32 PyTorch that is the reference of others; None without such rows."""
    networks = (row for row in rows if row.method.kind != "opencv")
    row = next(networks, None)
    return None if row is None else replace(row, backend=REFERENCE, precision="fp32")


def _missing(reference: Row | None, found: Mapping[Row, Measurement]) -> str | None:
    """Return why there are no reference flows; None if there are."""
    if reference is None:
        return "no row has a flow"
    measurement = found[reference]
    return None if measurement.status == "ok" else str(measurement.reason)


def _outcome(
    measurement: Measurement, errors: Errors, *, missing: str | None, bundles: Bundles
) -> Outcome:
    row = measurement.row
    entry = measurement.to_json() | dict.fromkeys(UNKNOWN)
    if measurement.status != "ok":
        return Outcome(row, entry, None)
    notes = [NOTES[row.method.kind]] if row.method.kind in NOTES else []
    entry["weights_sha256"] = bundles.weights_sha256(row)
    if bundles.is_trained(row):
        entry |= errors.to_json()
    else:
        notes.append("seeded random weights: timed, no EPE")
    if row.method.kind not in UNLIKE:
        entry["gflop"] = bundles.gflop(row)
        if missing is not None:
            notes.append(f"not compared with PyTorch: {missing}")
        elif bundles.has_reference_weights(row):
            entry["epe_vs_reference"] = errors.distance
        else:
            notes.append("not compared with PyTorch, which runs other weights (see --weights)")
    entry["reason"] = "; ".join(notes) or None
    return Outcome(row, entry, errors.first_flow)
