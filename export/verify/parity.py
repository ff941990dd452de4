"""Every bundle proves itself: each backend against a reference, through `engine.load`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engine
from engine.bundle.manifest import Parity
from engine.data.pair import Pair
from engine.errors import BackendNotInstalledError, EngineError, HardwareMissingError
from engine.flow.metrics import endpoint_error
from engine.types import Flow
from training.networks.registry import Tolerance

# What a building machine may lack: a GPU, its driver, or the package that runs what is built.
EXCUSES = (HardwareMissingError, BackendNotInstalledError)

# What a whole build is compared with, see `export.graph.deployable.reference_flow`.
REFERENCE = "fp32 PyTorch"

# A pair and the flow that it is to have.
Case = tuple[Pair, Flow]


class VerificationError(EngineError):
    """What was built does not compute the flow that it should; ``failures`` says where."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__("\n".join(failures))
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Deviation:
    """How far a backend's flow is from the reference's on one pair, as in `Tolerance`."""

    mean_px: float
    max_px: float
    relative: float


def verify_backend(
    bundle: Path,
    backend: str,
    *,
    cases: Sequence[Case],
    tolerance: Tolerance,
    reference: str = REFERENCE,
) -> tuple[Parity, list[str]]:
    """Compare a backend with the reference.

    Args:
        bundle: folder of the bundle.
        backend: name of `engine.backends`.
        cases: what to run, and what should come out.
        tolerance: limits that each case has to hold.
        reference: what computed the flows that should come out, for the failures.

    Returns:
        What was found, and a sentence for each way in which the backend failed. A backend whose
        hardware or package is missing here has the status "not run": no failure, but no pass
        either.

    Raises:
        EngineError: the backend fails while it runs.
    """
    try:
        flow_engine = engine.load(bundle, backend=backend)
    except EngineError as error:
        excused = isinstance(error, EXCUSES)
        parity = Parity(backend, "not run", str(error), None, None, None, _names(cases))
        return parity, [] if excused else [f"{backend}: {error}"]
    with flow_engine:
        flows = [flow_engine.infer(pair.image1, pair.image2) for pair, _ in cases]
    return _judge(backend, flows, cases=cases, tolerance=tolerance, reference=reference)


def _judge(
    backend: str,
    flows: Sequence[Flow],
    *,
    cases: Sequence[Case],
    tolerance: Tolerance,
    reference: str,
) -> tuple[Parity, list[str]]:
    failures: list[str] = []
    deviations = []
    changes = []
    for (pair, expected), flow in zip(cases, flows, strict=True):
        deviation = deviation_between(flow, expected)
        deviations.append(deviation)
        failures += (
            f"{backend}: {pair.name}: {text}" for text in excesses(deviation, tolerance, reference)
        )
        if pair.valid.any():
            changes.append(pair_epe(flow, pair) - pair_epe(expected, pair))
    parity = Parity(
        backend=backend,
        status="ok",
        reason=None,
        mean_px=max(deviation.mean_px for deviation in deviations),
        max_px=max(deviation.max_px for deviation in deviations),
        epe_change=max(changes, key=abs, default=None),
        pairs=_names(cases),
    )
    return parity, failures


def _names(cases: Sequence[Case]) -> str:
    return ", ".join(pair.name for pair, _ in cases)


def deviation_between(flow: Flow, reference: Flow) -> Deviation:
    """Measure the distance between two flow fields of one size."""
    distance = endpoint_error(flow, reference)
    length = float(np.linalg.norm(reference.astype(np.float64), axis=-1).mean())
    mean = float(distance.mean())
    return Deviation(mean, float(distance.max()), mean / length if length > 0 else np.inf)


def excesses(
    deviation: Deviation, tolerance: Tolerance, reference: str = REFERENCE
) -> Iterable[str]:
    """Say each limit that is passed; NaN passes all of them."""
    for what, unit, found, limit in (
        ("mean distance", " px", deviation.mean_px, tolerance.mean_px),
        ("largest distance", " px", deviation.max_px, tolerance.max_px),
        ("relative distance", "", deviation.relative, tolerance.relative),
    ):
        if not found <= limit:
            yield f"{what} to {reference} is {found:.3g}{unit}, expected at most {limit:g}{unit}"


def pair_epe(flow: Flow, pair: Pair) -> float:
    """Return the mean end-point error over a pair's pixels with known flow; NaN if there are none.

    A flow that is NaN or infinite at one of them has no finite error.
    """
    return float(endpoint_error(flow, pair.flow)[pair.valid].mean())
