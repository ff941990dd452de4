"""Weights to bundle, from the shell.

python -m export.build_engine --network flownets_slim --precision fp16 --size 384x512 -o DIR
"""

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, cast

from torch import nn

from engine.errors import EngineError, nearest
from engine.manifest import SizeProfile, WeightsOrigin, sha256_of
from export.bundle import Request, VerificationError, build_bundle, check_output
from export.progress import step
from export.spec import SPECS
from training.networks import NETWORKS
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 (the build failed) or 2 (the request cannot be met)."""
    try:
        options = _parser().parse_args(arguments)
        request = _request(options)
        manifest = build_bundle(request, options.output)
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print("error: the bundle was not built, verification failed:", file=sys.stderr)
        for failure in error.failures:
            print(f"  {failure}", file=sys.stderr)
        return 1
    except EngineError as error:
        print(f"error: the bundle was not built: {error}", file=sys.stderr)
        return 1
    size = sum(file.bytes for file in manifest.files.values())
    verified = ", ".join(parity.backend for parity in manifest.parity if parity.status == "ok")
    print(f"{'bundle':<10} {options.output}, {size / 1e6:.1f} MB, verified with {verified}")
    print(f"next: python -m bench.compare --bundle {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m export.build_engine",
        description="Build a bundle: ONNX and TensorRT models of a network, verified against "
        "PyTorch. Sizes are HEIGHTxWIDTH.",
    )
    add = parser.add_argument
    add("--network", required=True, help=f"one of {', '.join(SPECS)}")
    add("--weights", type=Path, metavar="FILE", help="safetensors; default: the shipped ones")
    add("--precision", choices=("fp32", "fp16"), default="fp32")
    add("--size", type=_size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--min-size", type=_size, metavar="HxW", help="smallest size; default: the divisor")
    add("--max-size", type=_size, metavar="HxW", help="largest size; default: 1088x1920")
    add("--max-batch", type=int, default=DEFAULT_MAX_BATCH, metavar="N", help="default: 4")
    add("--targets", metavar="A,B", help=f"of {','.join(TARGETS)}; default: all installed")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    return parser


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HxW, for example 384x512")
    return int(match[1]), int(match[2])


def _request(options: argparse.Namespace) -> Request:
    name = options.network
    if name not in SPECS or name not in NETWORKS:
        hint = nearest(name, SPECS)
        raise UsageError(f"unknown network {name!r}; expected one of {', '.join(SPECS)}.{hint}")
    targets = _targets(options.targets)
    check_output(options.output)
    with step("weights") as current:
        network, normalisation, origin = _load(name, options.weights)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        current.result = f"{name}, {parameters / 1e6:.1f} M parameters, {origin.source}"
    return Request(
        name=name,
        network=network,
        normalisation=normalisation,
        origin=origin,
        spec=SPECS[name],
        precision=options.precision,
        profile=_profile(options, cast(int, network.divisor)),
        targets=targets,
    )


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


if __name__ == "__main__":
    sys.exit(main())
