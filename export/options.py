"""The options of a build and its command line. Imports no PyTorch and opens no file."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import names, percentage, positive_int, size
from export.tensorrt.correlation_form import FORMS
from training.checkpoints.stated import add_options
from training.networks.registry import NETWORKS

# By target: packages of which one is needed, and how to install one.
TARGETS = {
    "onnxruntime": (("onnxruntime",), "pip install onnxruntime"),
    "openvino": (("openvino",), "pip install 'flownet-engine[openvino]'"),
    "tensorrt": (
        ("tensorrt", "tensorrt_rtx"),
        "pip install tensorrt-rtx==1.7.1.116 (builds without a GPU), or, on the GPU that the plan "
        "is for, pip install 'flownet-engine[tensorrt]'",
    ),
}
# The gate's default sets of pairs; `./synthetic` is a folder of that name.
GATE_SOURCES = ("motorcycle", "synthetic")
DEFAULT_MAX_EPE_INCREASE = 0.01
# Full HD, rounded up to multiples of 64.
DEFAULT_MAX = (1088, 1920)
DEFAULT_MAX_BATCH = 4
_INT8_OPTIONS = ("calibration", "calibration_pairs", "gate", "gate_pairs", "max_epe_increase")
LOOKUPS = ("volume", "on_the_fly")


@dataclass(frozen=True)
class BuildOptions:
    """What to build. Every option of the command line is a field; sizes are (height, width).

    Attributes:
        network: name in the registry; None: the one that the weights are of.
        weights: weights file; None: the shipped weights. One of the two is given.
        flow_scale: see `training.checkpoints.stated.Stated`; None: as the weights file says.
        normalisation: likewise.
        color: likewise.
        precision: ``fp32``, ``fp16``, ``int8`` or ``auto``.
        calibration: pairs to calibrate int8 on, ``synthetic`` or a folder.
        calibration_pairs: how many of them; None: as many as the network's operations allow.
        gate: sets of pairs with true flow for the accuracy gate of int8.
        gate_pairs: how many of each set; None: likewise.
        max_epe_increase: largest relative increase of the error that the gate accepts.
        size: size that TensorRT optimises for.
        min_size: smallest size; None: the network's divisor.
        max_size: largest size; None: full HD, or ``size`` if that is larger.
        max_batch: largest batch.
        split: whether to export two graphs.
        correlation: form of the correlation in a TensorRT plan; None: the best that can be built.
        iterations: updates of a recurrent network, or passes of a coarse-to-fine one; None: its
            own number.
        lookup: how these get correlations; None: the network's default.
        refine: how the engine refines the flow, ``variational`` or ``none``; None: the network's
            default.
        sign: PEM file with the private key to sign the bundle with; None: do not sign.
        targets: runtimes to build for; None: all that are installed.
        output: the bundle's folder.
    """

    network: str | None
    weights: Path | None
    flow_scale: float | None
    normalisation: str | None
    color: str | None
    precision: str
    calibration: str
    calibration_pairs: int | None
    gate: Sequence[str]
    gate_pairs: int | None
    max_epe_increase: float
    size: tuple[int, int]
    min_size: tuple[int, int] | None
    max_size: tuple[int, int] | None
    max_batch: int
    split: bool
    correlation: str | None
    iterations: int | None
    lookup: str | None
    refine: str | None
    sign: Path | None
    targets: Sequence[str] | None
    output: Path


def parse(arguments: Sequence[str] | None = None) -> BuildOptions:
    """Parse the command line of a build.

    Raises:
        UsageError: an option is unknown, missing, malformed or does not apply.
    """
    options = _parser().parse_args(arguments)
    if options.network is None and options.weights is None:
        raise UsageError("give --network NAME, for shipped weights, or --weights FILE, or both")
    _check_int8_options(options)
    defaults = {
        "calibration": "synthetic",
        "gate": GATE_SOURCES,
        "max_epe_increase": DEFAULT_MAX_EPE_INCREASE,
    }
    for name, default in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    return BuildOptions(
        **{field.name: getattr(options, field.name) for field in fields(BuildOptions)}
    )


def _check_int8_options(options: argparse.Namespace) -> None:
    if options.precision in ("int8", "auto"):
        return
    for option in _INT8_OPTIONS:
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise UsageError(
                f"--{name}: applies to int8 only, and --precision is {options.precision}; leave it "
                "out, or choose int8 or auto"
            )


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m export.build_engine",
        allow_abbrev=False,
        description="Build a bundle: ONNX and TensorRT models of a network, verified against "
        "PyTorch. Sizes are HEIGHTxWIDTH. `python -m export.rebuild DIR` rebuilds only the "
        "TensorRT plan of a bundle, on the GPU that it is for.",
    )
    add = parser.add_argument
    add("--network", metavar="NAME", help=f"one of {', '.join(NETWORKS)}; default: the network of "
        "the weights")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", help="safetensors, or a published checkpoint "
        "(docs/checkpoints.md); default: the shipped weights")  # fmt: skip
    add_options(parser)
    add("--precision", choices=("fp32", "fp16", "int8", "auto"), default="fp32",
        help="auto: build all and keep the fastest here that passes; default: fp32")  # fmt: skip
    add(
        "--calibration",
        metavar="synthetic|NAME:DIR",
        help="pairs to calibrate int8 on: procedural ones, or a data set, for example sintel:DIR, "
        "video:FILE or a folder; default: synthetic",
    )
    add("--calibration-pairs", type=positive_int, metavar="N", help="how many of them; default: 8 "
        "to 32 procedural ones, fewer the more operations the network has, at most 64 of a data "
        "set")  # fmt: skip
    add("--gate", type=names, metavar="A,B", help="sets of pairs with true flow on which int8 "
        f"must not increase the error: {', '.join(GATE_SOURCES)}, data sets as NAME:DIR, folders; "
        f"default: {','.join(GATE_SOURCES)}")  # fmt: skip
    add("--gate-pairs", type=positive_int, metavar="N", help="how many of each set; default: 16 to "
        "128 procedural ones, likewise, at most 64 of a data set; with few pairs the verdict is "
        "chance")  # fmt: skip
    add("--max-epe-increase", type=percentage, metavar="P%",
        help="largest increase of the error by int8 on each set; default: 1%%")  # fmt: skip
    add("--size", type=size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--min-size", type=size, metavar="HxW", help="smallest size; default: the divisor")
    add("--max-size", type=size, metavar="HxW", help="largest size; default: 1088x1920")
    add("--max-batch", type=int, default=DEFAULT_MAX_BATCH, metavar="N", help="default: 4")
    add("--split", action="store_true", help="two graphs for ONNX Runtime and OpenVINO, so that "
        "FlowEngine.stream computes the features of each frame once")  # fmt: skip
    add("--correlation", choices=FORMS, help="how the TensorRT plan of a FlowNetC computes the "
        "correlation; default: the best that can be built here")  # fmt: skip
    add("--iterations", type=positive_int, metavar="N", help="updates of a RAFT (default: 12), "
        "or passes of coarse_to_fine_slim (default: 1); engine.load can set others of a RAFT, and "
        "fewer passes")  # fmt: skip
    add("--lookup", choices=LOOKUPS, help="how a RAFT's updates get correlations: from a volume of "
        "all pairs of pixels (default), or on the fly, slower, for frames whose volume does not "
        "fit in memory")  # fmt: skip
    add("--refine", choices=("variational", "none"), help="how the engine refines the network's "
        "flow, unless engine.load says otherwise; default: variational for coarse_to_fine_slim, "
        "none for others")  # fmt: skip
    add("--targets", type=names, metavar="A,B", help=f"of {','.join(TARGETS)}; default: all "
        "that are installed")  # fmt: skip
    add("--sign", type=Path, metavar="KEY", help="sign the bundle with an Ed25519 private key "
        "(PEM), for engine.load(trust=...)")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    return parser
