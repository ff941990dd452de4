"""Measure the rows of a group and compute the error of their flows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import PairSet
from bench.environment import ModuleError, RefusedError
from bench.harness.bundles import Bundles
from bench.harness.interleave import Measurement, measure_rows
from bench.harness.plan import Row
from bench.harness.worker import Job
from bench.runners.registry import REFERENCE
from engine.data.pair import Pair
from engine.data.resize import resize_pair
from engine.errors import BackendError, EngineError
from engine.flow.metrics import fl_all, mean_epe

Flows = NDArray[np.float32]

NOTES = {
    "compensated": "with global motion compensation the flow differs from PyTorch's",
    "tiled": "in tiles the flow differs from PyTorch's",
    "downscaled": "at a smaller size the flow differs from PyTorch's",
    "many": "one pair per thread at the same time: times are per result, not latencies",
}


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
    first_flow: Flows | None


def measure_group(
    rows: Sequence[Row],
    *,
    pairs: PairSet,
    bundles: Bundles,
    setting: Setting,
    progress: Callable[[str], None],
) -> list[Outcome]:
    """Measure rows of one size interleaved; each becomes an outcome, in order.

    ``progress`` is called with what happens next, ``setting.rounds + 1`` times per row.
    """
    resized = [resize_pair(pair, rows[0].height, rows[0].width) for pair in pairs.pairs]
    pairs_file = _write_pairs(resized, setting.folder)
    jobs: list[tuple[Row, Job]] = []
    found: dict[Row, Measurement] = {}
    for row in rows:
        job = _job_or_reason(row, pairs_file, bundles=bundles, setting=setting)
        if isinstance(job, Job):
            jobs.append((row, job))
        else:
            found[row] = Measurement(row)
            found[row].stop(*job)
            for _ in range(setting.rounds + 1):
                progress(f"{job[0]}: {row}")
    measured = measure_rows(
        jobs,
        rounds=setting.rounds,
        seconds=setting.seconds,
        folder=setting.folder,
        progress=progress,
    )
    found |= {measurement.row: measurement for measurement in measured}
    reference = _reference_flows(found, pairs_file, bundles=bundles, setting=setting)
    return [_outcome(found[row], resized, reference=reference, bundles=bundles) for row in rows]


def _write_pairs(pairs: Sequence[Pair], folder: Path) -> Path:
    file = folder / "pairs.npz"
    image1 = np.stack([pair.image1 for pair in pairs])
    image2 = np.stack([pair.image2 for pair in pairs])
    np.savez(file, image1=image1, image2=image2)
    return file


def _job_or_reason(
    row: Row, pairs_file: Path, *, bundles: Bundles, setting: Setting
) -> Job | tuple[str, str]:
    """Return the job of a row's worker, or the status and reason with which the row ends."""
    reason = row.method.unavailable(has_gpu=setting.has_gpu)
    if reason is not None:
        return "skipped", reason
    job = Job(
        factory=row.method.factory,
        network=row.network,
        backend=row.backend,
        precision=row.precision,
        batch=row.batch,
        threads=setting.threads,
        pairs=str(pairs_file),
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


def _reference_flows(
    found: dict[Row, Measurement], pairs_file: Path, *, bundles: Bundles, setting: Setting
) -> Flows | str:
    """Return the flows of fp32 PyTorch, computed without timing if the run has no such row.

    Returns:
        The flows, or why there are none.
    """
    candidates = [
        replace(row, backend=REFERENCE, precision="fp32")
        for row, measurement in found.items()
        if row.method.kind != "opencv" and measurement.status == "ok"
    ]
    if not candidates:
        return "no row has a flow"
    row = candidates[0]
    if row not in found:
        job = _job_or_reason(row, pairs_file, bundles=bundles, setting=setting)
        if not isinstance(job, Job):
            return job[1]
        (found[row],) = measure_rows(
            [(row, job)], rounds=0, seconds=0, folder=setting.folder, progress=lambda _: None
        )
    flows, reason = found[row].flows, found[row].reason
    return str(reason) if flows is None else flows


def _outcome(
    measurement: Measurement,
    pairs: Sequence[Pair],
    *,
    reference: Flows | str,
    bundles: Bundles,
) -> Outcome:
    row, flows = measurement.row, measurement.flows
    unknown = ("weights_sha256", "gflop", "epe", "epe_by_pair", "fl_all", "epe_vs_reference")
    entry = measurement.to_json() | dict.fromkeys(unknown)
    if flows is None:
        return Outcome(row, entry, None)
    notes = [NOTES[row.method.kind]] if row.method.kind in NOTES else []
    entry["weights_sha256"] = bundles.weights_sha256(row)
    if bundles.is_trained(row):
        entry |= _errors(flows, pairs)
    else:
        notes.append("seeded random weights: timed, no EPE")
    if row.method.kind not in ("opencv", "compensated", "tiled", "downscaled"):
        entry["gflop"] = bundles.gflop(row)
        if isinstance(reference, str):
            notes.append(f"not compared with PyTorch: {reference}")
        elif bundles.has_reference_weights(row):
            entry["epe_vs_reference"] = mean_epe(flows, reference)
        else:
            notes.append("not compared with PyTorch, which runs other weights (see --weights)")
    entry["reason"] = "; ".join(notes) or None
    return Outcome(row, entry, flows[0])


def _errors(flows: Flows, pairs: Sequence[Pair]) -> dict[str, Any]:
    truth = np.stack([pair.flow for pair in pairs])
    valid = np.stack([pair.valid for pair in pairs])
    return {
        "epe": mean_epe(flows, truth, valid),
        "epe_by_pair": list(map(mean_epe, flows, truth, valid)),
        "fl_all": fl_all(flows, truth, valid),
    }
