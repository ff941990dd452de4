"""Write a bundle as models of Triton Inference Server.

python -m export.triton build/mine -o models
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.backends.onnx_graphs import WHOLE
from engine.bundle.manifest import Manifest, read_manifest
from engine.bundle.shipped import HELP, bundle_named
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import (
    int_between,
    names_among,
    non_negative_float,
    positive_float,
    positive_int,
    size,
)
from engine.system.command import run
from export.outcome import exit_code
from export.triton.config import Serving

_MODELS = ("flow_pair", "flow_stream")
_BACKENDS = ("onnxruntime", "openvino", "tensorrt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (a model is wrong) or 2 (the request cannot be met)."""
    return exit_code(lambda: _write(_parser().parse_args(arguments)), "the models were not written")


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m export.triton",
        allow_abbrev=False,
        description="Write a bundle as models of Triton Inference Server: flow_pair takes two "
        "images, flow_stream each frame of a sequence once. Each is run, and its flow compared "
        "with the bundle's.",
    )
    # fmt: off
    add = parser.add_argument
    add("bundle", type=bundle_named, metavar="BUNDLE", help=HELP)
    add("-o", "--output", type=Path, required=True, metavar="REPO",
        help="model repository; flow_pair and flow_stream in it are replaced, others stay")
    add("--backend", choices=_BACKENDS, default="onnxruntime",
        help="of Triton; default: onnxruntime")
    add("--models", type=names_among(_MODELS, "model"), metavar="A,B",
        help=f"of {','.join(_MODELS)}; default: those that the backend can serve")
    add("--max-batch", type=int_between(1, 1024), metavar="N",
        help="pairs in a batch; default: the bundle's largest; not for openvino")
    add("--window", type=non_negative_float, default=2, metavar="MS",
        help="how long a pair waits for others of its size; default: 2")
    add("--warm-up", type=size, action="append", metavar="HxW",
        help="size of images to warm up with; may be given several times; default: the bundle's")
    add("--sequences", type=positive_int, default=64, metavar="N",
        help="sequences served at a time; others wait; default: 64")
    add("--idle", type=positive_float, default=60, metavar="S",
        help="close a sequence after S seconds without a frame; default: 60")
    # fmt: on
    return parser


def _write(options: argparse.Namespace) -> None:
    try:  # onnx, which --help does not need
        from export.triton.repository import NO_STREAM, STREAM, Request, write_repository
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the export needs the package {error.name}: pip install 'flownet-engine[rebuild]'"
        ) from error
    refusal = NO_STREAM.get(options.backend)
    models = options.models or [name for name in _MODELS if name != STREAM or refusal is None]
    if STREAM in models and refusal is not None:
        raise UsageError(
            f"{STREAM} cannot be served with --backend {options.backend}: {refusal}. Use --backend "
            "onnxruntime"
        )
    if options.backend == "openvino" and options.max_batch is not None:
        raise UsageError(
            "--max-batch: Triton's OpenVINO backend computes batches of one fixed size, and "
            "refuses all others. Leave it out; a client may send several pairs in one request"
        )
    serving = _serving(options, read_manifest(options.bundle))
    write_repository(Request(options.bundle, options.output, models, serving))
    if STREAM not in models and refusal is not None:
        print(f"{STREAM} was not written: {refusal}.")
    print(f"next: tritonserver --model-repository {options.output}")


def _serving(options: argparse.Namespace, manifest: Manifest) -> Serving:
    batch = options.max_batch or manifest.profile.max[0]
    return Serving(
        backend=options.backend,
        file="model.plan" if options.backend == "tensorrt" else WHOLE,
        max_batch=0 if options.backend == "openvino" else batch,
        window=round(1e3 * options.window),
        sizes=options.warm_up or [manifest.profile.opt[1:]],
        sequences=options.sequences,
        idle=options.idle,
    )


if __name__ == "__main__":
    run(main)
