"""The command line of ``python -m export.build_engine``, without PyTorch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import percentage, size
from export.tensorrt.correlation_form import FORMS
from training.networks.registry import NETWORKS

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
# The gate's default sets of pairs; `./synthetic` is a folder of that name.
GATE_SOURCES = ("motorcycle", "synthetic")
# Full HD, rounded up to whole multiples of 64, is what a plan takes at most by default.
DEFAULT_MAX = (1088, 1920)
DEFAULT_MAX_BATCH = 4

_PROGRAM = "python -m export.build_engine"


def bundle_to_rebuild(arguments: Sequence[str] | None) -> Path | None:
    """Return the folder of ``--rebuild DIR``, None where that is not asked for.

    Raises:
        UsageError: there is more on the command line.
    """
    parser = RaisingParser(prog=_PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("--rebuild", type=Path)
    options, others = parser.parse_known_args(arguments)
    bundle: Path | None = options.rebuild
    if bundle is None or {"-h", "--help"} & {*others}:
        return None
    if others:
        raise UsageError(
            f"{others[0]}: --rebuild DIR stands alone, the bundle says all the rest; leave it out"
        )
    return bundle


def build_parser() -> argparse.ArgumentParser:
    """The command line of a build; ``--rebuild`` is there for its help alone."""
    parser = RaisingParser(
        prog=_PROGRAM,
        allow_abbrev=False,  # half of --rebuild would build anew
        description="Build a bundle: ONNX and TensorRT models of a network, verified against "
        "PyTorch. Sizes are HEIGHTxWIDTH.",
    )
    add = parser.add_argument
    add("--network", required=True, help=f"one of {', '.join(NETWORKS)}")
    add("--weights", type=Path, metavar="FILE", help="safetensors; default: the shipped ones")
    add("--precision", choices=("fp32", "fp16", "int8", "auto"), default="fp32",
        help="auto: build all and keep the fastest here that passes; default: fp32")  # fmt: skip
    add(
        "--calibration",
        metavar="synthetic|DIR",
        help="pairs to calibrate int8 on: procedural ones, or a folder; default: synthetic",
    )
    add("--gate", metavar="A,B", help="sets of pairs on which int8 must not raise the error: "
        f"folders with true flow, {', '.join(GATE_SOURCES)}; default: the last two")  # fmt: skip
    add("--max-epe-increase", type=percentage, metavar="P%",
        help="by how much int8 may raise it on each of them; default: 1%%")  # fmt: skip
    add("--size", type=size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--min-size", type=size, metavar="HxW", help="smallest size; default: the divisor")
    add("--max-size", type=size, metavar="HxW", help="largest size; default: 1088x1920")
    add("--max-batch", type=int, default=DEFAULT_MAX_BATCH, metavar="N", help="default: 4")
    add("--split", action="store_true", help="two graphs for ONNX Runtime and OpenVINO, so that "
        "engine.stream computes each frame's features once")  # fmt: skip
    add("--correlation", choices=FORMS, help="how the TensorRT plan of a FlowNetC "
        "computes it; default: the best that can be built here")  # fmt: skip
    add("--targets", metavar="A,B", help=f"of {','.join(TARGETS)}; default: all installed")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    add("--rebuild", metavar="DIR", help="alone, without PyTorch and weights: only build the "
        "TensorRT plan of a bundle anew, for this machine's TensorRT and GPU")  # fmt: skip
    return parser
