"""From rows to results: what each row's worker is told, and how good its flows are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import PairSet
from bench.environment import RefusedError
from bench.harness.bundles import Bundles
from bench.harness.interleave import Measurement, measure_together
from bench.harness.plan import REFERENCE, Row, unavailable
from bench.harness.worker import Job
from bench.operations import count_operations
from engine.backends.onnx_graphs import WHOLE
from engine.data.pair import Pair
from engine.data.resize import resize_pair
from engine.errors import BackendError, EngineError
from engine.flow.metrics import fl_all, mean_epe

Flows = NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """What is the same for every row of a run.

    Attributes:
        rounds: turns that each row gets.
        seconds: time that each row gets over all its turns.
        threads: CPU threads that each runtime is given.
        has_gpu: whether rows that need a GPU are tried.
        folder: existing folder for files that workers read and write.
    """

    rounds: int
    seconds: float
    threads: int
    has_gpu: bool
    folder: Path


@dataclass(frozen=True)
class Work:
    """What the network computes for one batch of pairs, or why that is not known (a note)."""

    gflop: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Outcome:
    """A row's entry in the result, and its flow (H, W, 2) of the first pair for a picture."""

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
    """Measure rows of one size side by side; each becomes an outcome, in order.

    ``progress`` is told what happens next, ``setting.rounds + 1`` times per row.
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
    work = _work(jobs)
    measured = measure_together(
        jobs,
        rounds=setting.rounds,
        seconds=setting.seconds,
        folder=setting.folder,
        progress=progress,
    )
    found |= {measurement.row: measurement for measurement in measured}
    reference = _reference_flows(found, pairs_file, bundles=bundles, setting=setting)
    return [
        _outcome(found[row], resized, reference=reference, bundles=bundles, work=work)
        for row in rows
    ]


def _write_pairs(pairs: Sequence[Pair], folder: Path) -> Path:
    file = folder / "pairs.npz"
    image1 = np.stack([pair.image1 for pair in pairs])
    image2 = np.stack([pair.image2 for pair in pairs])
    np.savez(file, image1=image1, image2=image2)
    return file


def _job_or_reason(
    row: Row, pairs_file: Path, *, bundles: Bundles, setting: Setting
) -> Job | tuple[str, str]:
    """What to tell a row's worker, or the status and reason with which the row ends here."""
    reason = unavailable(row.contestant, has_gpu=setting.has_gpu)
    if reason is not None:
        return "skipped", reason
    job = Job(
        factory=row.contestant.factory,
        network=row.network,
        backend=row.backend,
        precision=row.precision,
        batch=row.batch,
        threads=setting.threads,
        pairs=str(pairs_file),
    )
    kind = row.contestant.kind
    try:
        if kind == "pytorch":
            weights = bundles.weights_for(row.network)
            return replace(job, weights=str(weights.path) if weights else None)
        if kind == "peer":
            return job
        bundle = bundles.bundle_for(row)
        multiple = bundle.manifest.divisor if kind == "bare" else 1
        return replace(job, bundle=str(bundle.path), multiple=multiple)
    except (BackendError, RefusedError) as error:
        return "skipped", str(error)
    except (EngineError, OSError, RuntimeError) as error:
        return "failed", f"{type(error).__name__}: {error}"


def _work(jobs: Sequence[tuple[Row, Job]]) -> Work:
    """Of any bundle in the group: precision changes nothing. Without one, nothing is counted."""
    given = [(row, Path(job.bundle)) for row, job in jobs if job.bundle is not None]
    if not given:
        return Work()
    # Rather the whole network's graph than the two that a stream keeps features between.
    row, bundle = min(given, key=lambda pair: not (pair[1] / WHOLE).exists())
    try:
        operations = count_operations(bundle, height=row.height, width=row.width, batch=row.batch)
    except RuntimeError as error:
        return Work(note=f"operations not counted: {error}")
    return Work(gflop=operations / 1e9)


def _reference_flows(
    found: dict[Row, Measurement], pairs_file: Path, *, bundles: Bundles, setting: Setting
) -> Flows | str:
    """Flows of fp32 PyTorch, from its row if the run has it, else computed without timing it.

    Returns:
        The flows, or why there are none.
    """
    candidates = [
        replace(row, backend=REFERENCE, precision="fp32")
        for row, measurement in found.items()
        if row.contestant.kind != "peer" and measurement.status == "ok"
    ]
    if not candidates:
        return "no row has a flow"
    row = candidates[0]
    if row not in found:
        job = _job_or_reason(row, pairs_file, bundles=bundles, setting=setting)
        if not isinstance(job, Job):
            return job[1]
        (found[row],) = measure_together(
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
    work: Work,
) -> Outcome:
    entry, flows = measurement.to_json(), measurement.flows
    unknown = ("weights_sha256", "gflop", "epe", "epe_by_pair", "fl_all", "epe_vs_reference")
    entry |= dict.fromkeys(unknown)
    if flows is None:
        return Outcome(measurement.row, entry, None)
    entry["weights_sha256"] = bundles.weights_sha256(measurement.row)
    kind, notes = measurement.row.contestant.kind, []
    if kind not in ("peer", "aligned"):
        entry["gflop"] = work.gflop
    if kind == "aligned":
        notes.append("what most of the picture moves by is taken out first: not PyTorch's flow")
    if kind == "many":
        notes.append("ms from result to result, a pair per thread at once: throughput, not latency")
    if kind == "engine" and work.note is not None:
        notes.append(work.note)
    if bundles.is_trained(measurement.row):
        truth = np.stack([pair.flow for pair in pairs])
        valid = np.stack([pair.valid for pair in pairs])
        entry |= {
            "epe": mean_epe(flows, truth, valid),
            "epe_by_pair": list(map(mean_epe, flows, truth, valid)),
            "fl_all": fl_all(flows, truth, valid),
        }
    else:
        notes.append("seeded random weights: timed, no EPE")
    if kind not in ("peer", "aligned"):
        if isinstance(reference, str):
            notes.append(f"not compared with PyTorch: {reference}")
        elif bundles.has_reference_weights(measurement.row):
            entry["epe_vs_reference"] = mean_epe(flows, reference)
        else:
            notes.append("not compared with PyTorch, which runs other weights (see --weights)")
    entry["reason"] = "; ".join(notes) or None
    return Outcome(measurement.row, entry, flows[0])
