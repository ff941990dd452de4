"""The command line of ``python -m export.build_engine``, turned into requests before any work."""

import argparse
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, cast

from torch import nn

from engine.backends.tensorrt_package import load_tensorrt
from engine.errors import nearest
from engine.manifest import SizeProfile, WeightsOrigin, sha256_of
from export import correlation
from export.pair_folders import PairsError
from export.pairs import GATE_SOURCES, calibration_pairs, described, gate_pairs, name_of
from export.progress import step
from export.request import Quantisation, Request
from export.spec import SPECS
from export.staging import check_output
from training.networks import NETWORKS
from training.networks.layers import SiameseNetwork
from training.normalise import NORMALISATIONS
from training.weights import load_weights, network_from_weights, shipped_weights

# What each target needs: any of these packages, or else this is how to get one.
TARGETS = {
    "onnxruntime": (("onnxruntime",), "pip install onnxruntime"),
    "openvino": (("openvino",), "pip install 'flownet-engine[openvino]'"),
    "tensorrt": (
        ("tensorrt", "tensorrt_rtx"),
        "pip install tensorrt-rtx==1.7.1.116 (builds without a GPU), or, on the GPU that the plan "
        "is for, pip install 'flownet-engine[tensorrt]'",
    ),
}
# Full HD, rounded up to whole multiples of 64, is what a plan takes at most by default.
DEFAULT_MAX = (1088, 1920)
DEFAULT_MAX_BATCH = 4


class UsageError(Exception):
    """The request itself cannot be met; the message says which part and what to do."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other error of this command."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse_requests(arguments: Sequence[str] | None) -> tuple[list[Request], Path]:
    """Parse the command line and read what it names.

    Returns:
        What to build, one request for each precision to choose from, and the bundle's folder.

    Raises:
        UsageError: the request cannot be met.
        OSError: a file cannot be read, or the folder cannot be written.
    """
    options = _parser().parse_args(arguments)
    request = _request(options)
    if options.precision in ("fp32", "fp16"):
        for option in ("calibration", "gate", "max_epe_increase"):
            if getattr(options, option) is not None:
                name = option.replace("_", "-")
                raise UsageError(
                    f"--{name}: says how int8 is built, and --precision is {options.precision}; "
                    "leave it out, or choose int8 or auto"
                )
        return [replace(request, precision=options.precision)], options.output
    int8 = replace(request, precision="int8", quantisation=_quantisation(options, request))
    if options.precision == "int8":
        return [int8], options.output
    return [request, replace(request, precision="fp16"), int8], options.output


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m export.build_engine",
        description="Build a bundle: ONNX and TensorRT models of a network, verified against "
        "PyTorch. Sizes are HEIGHTxWIDTH.",
    )
    add = parser.add_argument
    add("--network", required=True, help=f"one of {', '.join(SPECS)}")
    add("--weights", type=Path, metavar="FILE", help="safetensors; default: the shipped ones")
    add("--precision", choices=("fp32", "fp16", "int8", "auto"), default="fp32",
        help="auto: build all and keep the fastest here that passes; default: fp32")  # fmt: skip
    add("--calibration", metavar="synthetic|DIR",
        help="pairs that int8 takes its ranges from; default: synthetic")  # fmt: skip
    add("--gate", metavar="A,B", help="sets of pairs on which int8 must not raise the error: "
        f"folders with true flow, {', '.join(GATE_SOURCES)}; default: the last two")  # fmt: skip
    add("--max-epe-increase", type=_percentage, metavar="P%",
        help="by how much int8 may raise it on each of them; default: 1%%")  # fmt: skip
    add("--size", type=_size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--min-size", type=_size, metavar="HxW", help="smallest size; default: the divisor")
    add("--max-size", type=_size, metavar="HxW", help="largest size; default: 1088x1920")
    add("--max-batch", type=int, default=DEFAULT_MAX_BATCH, metavar="N", help="default: 4")
    add("--split", action="store_true", help="two graphs for ONNX Runtime and OpenVINO, so that "
        "engine.stream computes each frame's features once")  # fmt: skip
    add("--correlation", choices=correlation.FORMS, help="how the TensorRT plan of a FlowNetC "
        "computes it; default: the best that can be built here")  # fmt: skip
    add("--targets", metavar="A,B", help=f"of {','.join(TARGETS)}; default: all installed")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    return parser


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HxW, for example 384x512")
    return int(match[1]), int(match[2])


def _percentage(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)%", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; expected e.g. 1% or 0.5%")
    return float(match[1]) / 100


def _request(options: argparse.Namespace) -> Request:
    name = options.network
    if name not in SPECS or name not in NETWORKS:
        hint = nearest(name, SPECS)
        raise UsageError(f"unknown network {name!r}; expected one of {', '.join(SPECS)}.{hint}")
    targets = _targets(options.targets)
    check_output(options.output)
    with step("weights") as current:
        network, normalisation, origin = _load(name, options.weights)
        _check_split(options, network, normalisation)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        current.result = f"{name}, {parameters / 1e6:.1f} M parameters, {origin.source}"
    profile = _profile(options, cast(int, network.divisor))
    return Request(
        name=name,
        network=network,
        normalisation=normalisation,
        origin=origin,
        spec=SPECS[name],
        precision="fp32",
        profile=profile,
        targets=targets,
        split=options.split,
        correlation=_correlation(options, targets, profile),
    )


def _quantisation(options: argparse.Namespace, request: Request) -> Quantisation:
    divisor, limit = cast(int, request.network.divisor), options.max_epe_increase
    source = "synthetic" if options.calibration is None else options.calibration
    sources = GATE_SOURCES if options.gate is None else options.gate.split(",")
    with step("pairs") as current:
        try:
            calibration = None
            if source != "synthetic":  # a folder, which may be refused, before all that takes time
                calibration = calibration_pairs(source, options.size, divisor)
            gate = gate_pairs(sources, request.profile, divisor)
            calibration = calibration or calibration_pairs(source, options.size, divisor)
        except PairsError as error:
            raise UsageError(str(error)) from error
        name = described(name_of(source), calibration)
        sets = "; ".join(described(set_, pairs) for set_, pairs in gate.items())
        current.result = f"calibration: {name}; gate: {sets}"
    return Quantisation(calibration, name, gate, 0.01 if limit is None else limit)


def _load(name: str, path: Path | None) -> tuple[nn.Module, nn.Module, WeightsOrigin]:
    try:
        path = path or shipped_weights(name)
        weights = load_weights(path)
        network = network_from_weights(name, weights)
        normalisation = weights.metadata["normalisation"]
        if normalisation not in NORMALISATIONS:
            raise ValueError(
                f"{path}: its normalisation is {normalisation!r}; expected one of "
                f"{', '.join(NORMALISATIONS)}.{nearest(normalisation, NORMALISATIONS)}"
            )
        epe = {data: float(pixels) for data, pixels in json.loads(weights.metadata["epe"]).items()}
    except ValueError as error:
        raise UsageError(str(error)) from error
    origin = WeightsOrigin(
        sha256=sha256_of(path),
        source=weights.metadata["source"],
        licence=weights.metadata["licence"],
        epe=epe,
    )
    return network, NORMALISATIONS[normalisation](), origin


def _check_split(options: argparse.Namespace, network: nn.Module, normalisation: nn.Module) -> None:
    if not options.split:
        return
    if not isinstance(network, SiameseNetwork):
        raise UsageError(
            f"--split: {options.network} looks at both images together from its first layer on, so "
            "no frame's features can be kept; leave it out"
        )
    if not hasattr(normalisation, "alone"):
        raise UsageError(
            "--split: these weights want each pair normalised by its own mean colour, so no "
            "frame's features can be kept; leave it out"
        )


def _correlation(
    options: argparse.Namespace, targets: tuple[str, ...], profile: SizeProfile
) -> str:
    """The form that was asked for, or the best that this machine can build."""
    wanted = options.correlation
    correlates = SPECS[options.network].correlates
    if not correlates or "tensorrt" not in targets:
        if wanted is None:
            return "onnx"
        lacking = "no TensorRT plan is built" if correlates else f"{options.network} has none"
        raise UsageError(f"--correlation {wanted}: {lacking}; leave it out")
    tensorrt = load_tensorrt()
    if wanted is None:
        wanted, reasons = correlation.best_form(tensorrt, profile)
        for reason in reasons:
            print(f"left out: correlation as {reason}")
        return wanted
    obstacle = correlation.obstacle_to(wanted, tensorrt, profile)
    if obstacle is not None:
        raise UsageError(f"--correlation {wanted}: {obstacle}")
    return wanted


def _targets(text: str | None) -> tuple[str, ...]:
    installed = [name for name in TARGETS if _is_installed(name)]
    if text is None:
        for name in TARGETS:
            if name not in installed:
                print(f"left out: {name} is not installed ({TARGETS[name][1]})")
        return tuple(installed)
    chosen = tuple(dict.fromkeys(text.split(",")))
    for name in chosen:
        if name not in TARGETS:
            hint = nearest(name, TARGETS)
            raise UsageError(f"unknown target {name!r}; expected {', '.join(TARGETS)}.{hint}")
        if name not in installed:
            raise UsageError(f"target {name} is not installed; {TARGETS[name][1]}")
    return chosen


def _is_installed(target: str) -> bool:
    return any(importlib.util.find_spec(package) for package in TARGETS[target][0])


def _profile(options: argparse.Namespace, divisor: int) -> SizeProfile:
    size = options.size
    smallest = options.min_size or (divisor, divisor)
    largest = options.max_size or tuple(map(max, size, DEFAULT_MAX))
    for option, (height, width) in (
        ("--size", size), ("--min-size", smallest), ("--max-size", largest)
    ):  # fmt: skip
        fitting = [max(divisor, -(-side // divisor) * divisor) for side in (height, width)]
        if fitting != [height, width]:
            raise UsageError(
                f"{option} {height}x{width}: height and width must be positive multiples of "
                f"{divisor}; the next is {fitting[0]}x{fitting[1]}"
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
