"""Verification of a bundle: each backend against a reference, through `engine.load`."""

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
from training.networks.entry import Tolerance

# Errors that are no failure of a build: the machine has no such GPU, driver or package.
EXCUSES = (HardwareMissingError, BackendNotInstalledError)

# Computed by `export.graph.deployable.reference_flow`.
REFERENCE = "fp32 PyTorch"

# A pair and its reference flow.
Case = tuple[Pair, Flow]


class VerificationError(EngineError):
    """A bundle does not compute the reference flow; ``failures`` lists where."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__("\n".join(failures))
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Deviation:
    """Distance of a backend's flow from the reference on one pair; fields as in `Tolerance`."""

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
        backend: its name.
        cases: pairs and reference flows.
        tolerance: limits for each case.
        reference: what computed the reference flows, for messages.

    Returns:
        The measurement, and a sentence for each failure. A backend whose hardware or package is
        missing has the status "not run", which is neither a failure nor a pass.

    Raises:
        EngineError: the backend fails at run time.
    """
    try:
        flow_engine = engine.load(bundle, backend=backend, refine="none")
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
    """Yield a sentence for each exceeded limit; NaN exceeds all of them."""
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
