"""The accuracy gate: int8 is accepted by its end-point error on every backend that runs here.

Cosine similarity or the distance to the fp32 flow can look fine on networks that have become
useless; only the error against true flow shows it. If the error increases too much, the layers that
disturb the flow most stay in float.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import engine
from engine.bundle.manifest import GateResult, Manifest
from engine.errors import EngineError
from engine.flow.metrics import endpoint_error
from engine.types import Flow
from export.progress import Step, step
from export.verify.cases import described
from export.verify.parity import EXCUSES, Case, pair_epe

# Pairs of each set that the search for layers measures.
_SEARCH_PAIRS = 8


class GateError(EngineError):
    """No choice of layers keeps the error within the limit; the message lists their effects."""


@dataclass(frozen=True)
class Candidate:
    """A bundle with some layers in float.

    Attributes:
        in_float: these layers; all others are in int8.
        folder: the bundle's folder. It holds the candidate that was built last.
        manifest: its manifest, without gate and parity.
        results: measurements of its end-point error, by backend and set.
    """

    in_float: tuple[str, ...]
    folder: Path
    manifest: Manifest
    results: tuple[GateResult, ...] = ()


# Writes a bundle with these layers in float.
Build = Callable[[Sequence[str]], Candidate]


def admit(
    build: Build,
    layers: Sequence[str],
    sets: Mapping[str, Sequence[Case]],
    *,
    limit: float,
    backends: Sequence[str],
) -> Candidate:
    """Return the accepted candidate with the fewest layers in float found; it was built last.

    Args:
        build: writes a bundle.
        layers: all layers that can be in int8.
        sets: pairs with true flow, and the flow of fp32 PyTorch, by name of their set.
        limit: largest accepted increase of a set's mean end-point error, relative to fp32.
        backends: names of backends to measure on; those that cannot run here are skipped.

    Raises:
        GateError: no layer could stay in int8, or nothing can be measured here.
    """
    gate = _Gate(build, sets, limit, backends)
    first = gate.measured(build(()))
    if gate.passes(first):
        return first
    effects = gate.effects(first, layers)
    candidate = first
    for layer in effects:
        candidate = gate.build_measured((*candidate.in_float, layer))
        if gate.passes(candidate):
            candidate = gate.without_superfluous(candidate)
            break
    if len(candidate.in_float) < len(layers):
        return candidate
    listed = ", ".join(f"{layer} {effect:+.3f} px" for layer, effect in effects.items())
    raise GateError(
        f"int8 increases the error by more than --max-epe-increase {100 * limit:.3g}% allows: "
        f"{_worst(first)}, and no subset of the {len(layers)} layers meets the limit. Effect of "
        f"each layer on the mean distance from the fp32 flow: {listed}. Allow more, calibrate on "
        "pairs like those it fails on (--calibration DIR), or use --precision fp16"
    )


@dataclass(frozen=True)
class _Gate:
    """The steps of `admit`, with its arguments."""

    build: Build
    sets: Mapping[str, Sequence[Case]]
    limit: float
    backends: Sequence[str]

    def build_measured(self, in_float: Sequence[str]) -> Candidate:
        return self.measured(self.build(in_float))

    def measured(self, candidate: Candidate) -> Candidate:
        with step("gate") as current:
            results = tuple(
                result
                for backend in self.backends
                for result in _results(candidate.folder, backend, self.sets, current)
            )
            if not results:
                raise GateError(
                    f"none of {', '.join(self.backends)} can run here, so the error of int8 cannot "
                    "be measured; install one of them"
                )
            candidate = replace(candidate, results=results)
            layers = candidate.in_float
            prefix = f"in float {', '.join(layers)}: " if layers else ""
            verdict = "ok" if self.passes(candidate) else "too much"
            current.result = f"{prefix}{_worst(candidate)}: {verdict}"
        return candidate

    def passes(self, candidate: Candidate) -> bool:
        return all(_increase(result) <= self.limit for result in candidate.results)

    def effects(self, first: Candidate, layers: Sequence[str]) -> dict[str, float]:
        """Return by how much the distance from fp32 falls with each layer in float, largest first.

        In pixels of the mean distance, which is far less noisy than the error: a few pairs suffice.
        """
        few = replace(self, sets={name: cases[:_SEARCH_PAIRS] for name, cases in self.sets.items()})
        before = _distance(few.measured(first))
        effects = {layer: before - _distance(few.build_measured((layer,))) for layer in layers}
        return dict(sorted(effects.items(), key=lambda item: -item[1]))

    def without_superfluous(self, accepted: Candidate) -> Candidate:
        """Return layers to int8 that later ones made superfluous."""
        built = accepted
        for layer in accepted.in_float[:-1]:
            built = self.build_measured([it for it in accepted.in_float if it != layer])
            if self.passes(built):
                accepted = built
        if built is not accepted:
            # With its own manifest: a plan's bytes may differ from those of the build before.
            accepted = replace(self.build(accepted.in_float), results=accepted.results)
        return accepted


def _results(
    folder: Path, backend: str, sets: Mapping[str, Sequence[Case]], current: Step
) -> list[GateResult]:
    try:
        flow_engine = engine.load(folder, backend=backend, refine="none")
    except EXCUSES:
        return []
    results = []
    with flow_engine:
        for name, cases in sets.items():
            pairs = current.counted([pair for pair, _ in cases])
            flows = (flow_engine.infer(pair.image1, pair.image2) for pair in pairs)
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
        pairs=described(name, [pair for pair, _ in cases]),
        epe_before=float(np.mean(before)),
        epe=float(np.mean(after)),
        standard_error=float(changes.std(ddof=1) / len(changes) ** 0.5) if several else None,
        mean_px=float(distance.mean()),
        p99_px=float(np.percentile(distance, 99)),
    )


def _distance(candidate: Candidate) -> float:
    return float(np.mean([result.mean_px for result in candidate.results]))


def _increase(result: GateResult) -> float:
    """Return the relative increase; infinite if the flow has NaN or fp32 has no error."""
    before, after = result.epe_before, result.epe
    return after / before - 1 if before > 0 and np.isfinite(after) else np.inf


def _worst(candidate: Candidate) -> str:
    result = max(candidate.results, key=_increase)
    increase, doubt = _increase(result), ""
    if result.standard_error is not None and np.isfinite(increase):
        doubt = f" ± {result.standard_error / result.epe_before:.2%}"
    return (
        f"EPE at worst {result.epe_before:.3f} -> {result.epe:.3f} px ({increase:+.2%}{doubt}) on "
        f"{result.pairs}, {result.backend}"
    )
