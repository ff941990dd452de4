"""INT8 is admitted by its end-point error: measured, not assumed, on every backend that runs here.

Cosine similarity or the distance to the fp32 flow look fine on networks that have become useless;
only the error against known flow tells. Where it rises too much, the layers that disturb the flow
most stay in float.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import engine
from engine.bundle.manifest import GateResult
from engine.errors import EngineError
from engine.flow.metrics import endpoint_error
from engine.types import Flow
from export.progress import step
from export.verify.cases import described
from export.verify.parity import EXCUSES, Case, pair_epe

# Pairs of each set that the search for layers looks at.
_FEW = 8
# Writes a bundle with these layers in float, all others in int8, and returns its folder.
Build = Callable[[Sequence[str]], Path]


class GateError(EngineError):
    """No choice of layers keeps the error within the limit; the message says what each one does."""


def admit(
    build: Build,
    layers: Sequence[str],
    sets: Mapping[str, Sequence[Case]],
    *,
    limit: float,
    backends: Sequence[str],
) -> tuple[list[str], list[GateResult]]:
    """Find the layers that have to stay in float, and leave the bundle that passes built.

    Args:
        build: writes a bundle.
        layers: all that int8 is possible for.
        sets: pairs with known flow and what fp32 PyTorch computes for them, by name of their set.
        limit: largest accepted increase of a set's mean end-point error, relative to fp32.
        backends: names of `engine.backends` to measure on; those that cannot run here are left out.

    Returns:
        The layers in float and what was measured with them.

    Raises:
        GateError: nothing would be left in int8, or nothing can be measured here.
    """
    gate = _Gate(build, sets, limit, backends)
    folder = build(())
    first = gate.look_at(folder, ())
    if gate.passes(first):
        return [], first
    effects = gate.effects(folder, layers)
    kept, found = list[str](), first
    for layer in effects:
        kept.append(layer)
        found = gate.measure(kept)
        if gate.passes(found):
            kept, found = gate.without_superfluous(kept, found)
            break
    if len(kept) < len(layers):
        return kept, found
    listed = ", ".join(f"{layer} {effect:+.3f} px" for layer, effect in effects.items())
    raise GateError(
        f"int8 raises the error by more than --max-epe-increase {100 * limit:.3g}% allows: "
        f"{_worst(first)}, and nothing helps but all {len(layers)} layers in float. Mean "
        f"distance from the fp32 flow that each is to blame for: {listed}. Allow more, calibrate "
        "on pairs like those it fails on (--calibration DIR), or use --precision fp16"
    )


@dataclass(frozen=True)
class _Gate:
    """The parts of `admit`, with its arguments."""

    build: Build
    sets: Mapping[str, Sequence[Case]]
    limit: float
    backends: Sequence[str]

    def measure(self, in_float: Sequence[str]) -> list[GateResult]:
        return self.look_at(self.build(in_float), in_float)

    def look_at(self, folder: Path, in_float: Sequence[str]) -> list[GateResult]:
        with step("gate") as current:
            found = [
                result
                for backend in self.backends
                for result in _results(folder, backend, self.sets)
            ]
            if not found:
                raise GateError(
                    f"none of {', '.join(self.backends)} can run here, so nothing is known of the "
                    "error of int8; install one of them"
                )
            words = f"in float {', '.join(in_float)}: " if in_float else ""
            verdict = "ok" if self.passes(found) else "too much"
            current.result = f"{words}{_worst(found)}: {verdict}"
        return found

    def passes(self, found: Sequence[GateResult]) -> bool:
        return all(_increase(result) <= self.limit for result in found)

    def effects(self, folder: Path, layers: Sequence[str]) -> dict[str, float]:
        """By how much each layer alone, back in float, lets the flow return; largest first.

        In pixels of the mean distance, which is far less noisy than the error itself: a few pairs
        tell it. ``folder`` has the bundle without any of them in float.
        """
        few = replace(self, sets={name: cases[:_FEW] for name, cases in self.sets.items()})
        before = _distance(few.look_at(folder, ()))
        effects = {layer: before - _distance(few.measure((layer,))) for layer in layers}
        return dict(sorted(effects.items(), key=lambda item: -item[1]))

    def without_superfluous(
        self, kept: list[str], results: list[GateResult]
    ) -> tuple[list[str], list[GateResult]]:
        """Give back to int8 what the layers after it made superfluous."""
        built = kept
        for layer in kept[:-1]:
            built = [other for other in kept if other != layer]
            found = self.measure(built)
            if self.passes(found):
                kept, results = built, found
        if built != kept:
            self.build(kept)
        return kept, results


def _results(folder: Path, backend: str, sets: Mapping[str, Sequence[Case]]) -> list[GateResult]:
    try:
        flow_engine = engine.load(folder, backend=backend)
    except EXCUSES:
        return []
    results = []
    with flow_engine:
        for name, cases in sets.items():
            flows = (flow_engine.infer(pair.image1, pair.image2) for pair, _ in cases)
            results.append(_compared(backend, name, cases, flows))
    return results


def _compared(backend: str, name: str, cases: Sequence[Case], flows: Iterable[Flow]) -> GateResult:
    before, after, distances = [], [], []
    for (pair, reference), flow in zip(cases, flows, strict=True):
        before.append(pair_epe(reference, pair))
        after.append(pair_epe(flow, pair))
        distances.append(endpoint_error(flow, reference).ravel())
    distance = np.concatenate(distances)
    changes = np.subtract(after, before)
    several = len(changes) > 1
    return GateResult(
        backend=backend,
        pairs=described(name, cases),
        epe_before=float(np.mean(before)),
        epe=float(np.mean(after)),
        standard_error=float(changes.std(ddof=1) / len(changes) ** 0.5) if several else None,
        mean_px=float(distance.mean()),
        p99_px=float(np.percentile(distance, 99)),
    )


def _distance(found: Sequence[GateResult]) -> float:
    return float(np.mean([result.mean_px for result in found]))


def _increase(result: GateResult) -> float:
    """Relative; infinite where the flow is no number, or there was no error to increase."""
    before, after = result.epe_before, result.epe
    return after / before - 1 if before > 0 and np.isfinite(after) else np.inf


def _worst(found: Sequence[GateResult]) -> str:
    result = max(found, key=_increase)
    increase, doubt = _increase(result), ""
    if result.standard_error is not None and np.isfinite(increase):
        doubt = f" ± {result.standard_error / result.epe_before:.2%}"
    return (
        f"EPE at worst {result.epe_before:.3f} -> {result.epe:.3f} px ({increase:+.2%}{doubt}) on "
        f"{result.pairs}, {result.backend}"
    )
