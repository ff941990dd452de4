"""From options to build requests: loads weights and pairs, and checks them, before any work."""

import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from engine.backends.tensorrt.package import load_tensorrt
from engine.bundle.manifest import SizeProfile, WeightsOrigin
from engine.bundle.schema import Refine
from engine.data.pair import PairsError
from engine.errors import nearest
from engine.images import padded_size
from engine.system.argument_parser import UsageError
from engine.system.files import sha256_of
from export.build_request import Quantisation, Request
from export.graph.deployable import Deployable
from export.graph.properties import operation_count
from export.options import DEFAULT_MAX, TARGETS, BuildOptions
from export.progress import step
from export.staging import check_output
from export.tensorrt import correlation_form as correlation
from export.verify.cases import calibration_pairs, described, gate_pairs, name_of
from training.checkpoints.stated import stated_by
from training.networks import NETWORKS, network_entry
from training.networks.coarse_to_fine import MAX_PASSES, CoarseToFineFlowNetS
from training.networks.layers import FlowNetwork, RecurrentNetwork, SiameseNetwork
from training.normalise import NORMALISATIONS
from training.weights import facts_in, load_weights, network_from_weights, shipped_weights

# Which networks have what an option sets.
_REPEATED = {"iterations": "RAFT and coarse_to_fine_slim have", "lookup": "RAFT has"}


def resolve(options: BuildOptions) -> list[Request]:
    """Load what the options name, and check that it can be built here.

    Returns:
        What to build, one request for each precision to choose from.

    Raises:
        UsageError: the request cannot be met.
        OSError: a file cannot be read, or the folder cannot be written.
    """
    request = _request(options)
    if options.precision == "fp32":
        return [request]
    if options.precision == "fp16":
        return [replace(request, precision="fp16")]
    if request.lookup is not None:
        if options.precision == "auto":
            print(f"skipped: int8: {request.name} repeats its layers in a loop")
            return [request, replace(request, precision="fp16")]
        raise UsageError(
            f"--precision int8: {request.name} repeats its layers in a loop, on values whose range "
            "changes from update to update, and errors of rounding would grow with each; build it "
            "with fp32 or fp16"
        )
    int8 = replace(request, precision="int8", quantisation=_quantisation(options, request))
    if options.precision == "int8":
        return [int8]
    return [request, replace(request, precision="fp16"), int8]


def _request(options: BuildOptions) -> Request:
    if options.network is not None:
        _check_name(options.network)
    targets = _targets(options.targets)
    check_output(options.output)
    with step("weights") as current:
        name, network, normalisation, origin = _load(options)
        if options.split:
            _check_split(name, network, normalisation)
        lookup = _recurrence(options, name, network)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        taken = "".join(f", {fact} {value}" for fact, value in origin.facts.items())
        current.result = f"{name}, {parameters / 1e6:.1f} M parameters, {origin.source}{taken}"
    profile = _profile(options, network.divisor, network.smallest)
    return Request(
        name=name,
        network=network,
        normalisation=normalisation,
        origin=origin,
        entry=NETWORKS[name],
        precision="fp32",
        profile=profile,
        targets=targets,
        split=options.split,
        correlation=_correlation(name, options.correlation, targets, profile),
        lookup=lookup,
        refine=_refine(name, options.refine),
    )


def _refine(name: str, asked_for: str | None) -> Refine | None:
    if asked_for is None:
        return NETWORKS[name].refine
    return None if asked_for == "none" else "variational"


def _recurrence(options: BuildOptions, name: str, network: FlowNetwork) -> str | None:
    """Set the number of updates or passes; return how updates get correlations, None without."""
    recurrence = NETWORKS[name].recurrence
    if isinstance(network, CoarseToFineFlowNetS) and options.iterations is not None:
        network.passes = _checked_passes(name, options.iterations)
        options = replace(options, iterations=None)
    if recurrence is not None and isinstance(network, RecurrentNetwork):
        network.iterations = options.iterations or network.iterations
        return options.lookup or next(iter(recurrence.constants))
    for option in ("iterations", "lookup"):
        if (value := getattr(options, option)) is not None:
            raise UsageError(
                f"--{option} {value}: {name} has no repeated updates, only {_REPEATED[option]}; "
                "leave it out"
            )
    return None


def _checked_passes(name: str, passes: int) -> int:
    if passes > MAX_PASSES:
        raise UsageError(
            f"--iterations {passes}: expected 1 to {MAX_PASSES}, as {name} makes at most so many "
            "passes over the images"
        )
    return passes


def _quantisation(options: BuildOptions, request: Request) -> Quantisation:
    divisor, source = request.network.divisor, options.calibration
    deployable = Deployable(request.network, request.normalisation)
    gflop = operation_count(deployable, request.profile).gflop
    with step("pairs") as current:
        try:
            # A folder, which may be refused, is read before pairs are rendered, which takes time.
            calibrate = partial(
                calibration_pairs, source, options.size, divisor, gflop, options.calibration_pairs
            )
            calibration = None if source == "synthetic" else calibrate()
            gate = gate_pairs(options.gate, request.profile, divisor, gflop, options.gate_pairs)
            calibration = calibration or calibrate()
        except PairsError as error:
            raise UsageError(str(error)) from error
        name = described(name_of(source), calibration)
        sets = "; ".join(described(set_, pairs) for set_, pairs in gate.items())
        current.result = f"calibration: {name}; gate: {sets}"
    return Quantisation(calibration, name, gate, options.max_epe_increase)


def _check_name(network: str) -> None:
    try:
        network_entry(network)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _load(options: BuildOptions) -> tuple[str, FlowNetwork, nn.Module, WeightsOrigin]:
    try:
        path = options.weights or shipped_weights(options.network or "")
        weights = load_weights(path, stated=stated_by(options))
        name = options.network or weights.metadata["network"]
        network = network_from_weights(name, weights)
        normalisation = weights.metadata["normalisation"]
        if normalisation not in NORMALISATIONS:
            raise ValueError(
                f"{path}: its normalisation is {normalisation!r}; expected one of "
                f"{', '.join(NORMALISATIONS)}.{nearest(normalisation, NORMALISATIONS)}"
            )
        epe = _errors(path, weights.metadata["epe"])
        facts = facts_in(path, weights.metadata)
    except ValueError as error:
        raise UsageError(str(error)) from error
    origin = WeightsOrigin(
        sha256=sha256_of(path),
        source=weights.metadata["source"],
        licence=weights.metadata["licence"],
        epe=epe,
        facts=facts,
    )
    return name, network, NORMALISATIONS[normalisation](), origin


def _errors(path: Path, text: str) -> dict[str, float]:
    """Pixels by data set, as the header of a weights file has them."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(map(_is_finite, found.values())):
        raise ValueError(
            f"{path}: the epe in its header is {text!r}; expected a JSON object of data sets and "
            "pixels, as training writes it"
        )
    return {data: float(pixels) for data, pixels in found.items()}


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_split(name: str, network: nn.Module, normalisation: nn.Module) -> None:
    if not isinstance(network, SiameseNetwork):
        raise UsageError(
            f"--split: {name} processes both images together from its first layer on, "
            "so the features of a frame cannot be kept; leave it out"
        )
    if not hasattr(normalisation, "alone"):
        raise UsageError(
            "--split: these weights need each pair normalised by its own mean colour, so the "
            "features of a frame cannot be kept; leave it out"
        )


def _correlation(
    name: str, wanted: str | None, targets: tuple[str, ...], profile: SizeProfile
) -> str:
    """Return the requested form, or the best one that this machine can build."""
    correlates = NETWORKS[name].has_correlation
    if not correlates or "tensorrt" not in targets:
        if wanted is None:
            return "onnx"
        lacking = "no TensorRT plan is built" if correlates else f"{name} has none"
        raise UsageError(f"--correlation {wanted}: {lacking}; leave it out")
    tensorrt = load_tensorrt()
    if wanted is None:
        wanted, reasons = correlation.best_form(tensorrt, profile)
        for reason in reasons:
            print(f"skipped: correlation as {reason}")
        return wanted
    obstacle = correlation.obstacle_to(wanted, tensorrt, profile)
    if obstacle is not None:
        raise UsageError(f"--correlation {wanted}: {obstacle}")
    return wanted


def _targets(names: Sequence[str] | None) -> tuple[str, ...]:
    installed = [name for name in TARGETS if _is_installed(name)]
    if names is None:
        for name in TARGETS:
            if name not in installed:
                print(f"skipped: {name} is not installed ({TARGETS[name][1]})")
        return tuple(installed)
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in TARGETS:
            hint = nearest(name, TARGETS)
            raise UsageError(f"unknown target {name!r}; expected {', '.join(TARGETS)}.{hint}")
        if name not in installed:
            raise UsageError(f"target {name} is not installed; {TARGETS[name][1]}")
    return chosen


def _is_installed(target: str) -> bool:
    return any(importlib.util.find_spec(package) for package in TARGETS[target][0])


def _profile(options: BuildOptions, divisor: int, least: int) -> SizeProfile:
    size = options.size
    smallest = options.min_size or padded_size(divisor, divisor, divisor, least)
    largest = options.max_size or (max(size[0], DEFAULT_MAX[0]), max(size[1], DEFAULT_MAX[1]))
    for option, (height, width) in (
        ("--size", size), ("--min-size", smallest), ("--max-size", largest)
    ):  # fmt: skip
        fitting = padded_size(max(height, divisor), max(width, divisor), divisor, least)
        if fitting != (height, width):
            limit = f", at least {least}" if least > divisor else ""
            raise UsageError(
                f"{option} {height}x{width}: height and width must be positive multiples of "
                f"{divisor}{limit}; the next is {fitting[0]}x{fitting[1]}"
            )
    if not all(low <= opt <= high for low, opt, high in zip(smallest, size, largest, strict=True)):
        low, opt, high = (f"{height}x{width}" for height, width in (smallest, size, largest))
        raise UsageError(
            f"--min-size {low}, --size {opt}, --max-size {high}: expected heights and widths that "
            "do not shrink from one to the next"
        )
    if options.max_batch < 1:
        raise UsageError(f"--max-batch {options.max_batch}: expected at least 1")
    return SizeProfile((1, *smallest), (1, *size), (options.max_batch, *largest))
