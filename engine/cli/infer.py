"""``flow infer``: optical flow between two picture files."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

import engine
from engine.cli import common, inference
from engine.errors import InputError
from engine.flow.colour import flow_to_color
from engine.flow.formats import check_flow_format, write_flow
from engine.images import check_picture_format, read_image, write_image
from engine.types import Flow

_EPILOG = """examples:
  flow infer frame1.png frame2.png -o flow.flo --picture flow.png
  flow infer frame1.png frame2.png -o flow.npy --bundle build/mine --backend openvino"""


def add_command(commands: common.Commands) -> None:
    """Add ``infer`` to the parser's commands."""
    parser = common.add_command(
        commands, "infer", run, help="compute the flow from one image to another", epilog=_EPILOG
    )
    parser.add_argument("image1", type=Path, help="first image")
    parser.add_argument("image2", type=Path, help="second image, of the same size")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="flow file to write: .flo, .png (KITTI), .pfm, .npy, .npz, .flo5",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        help="picture of the flow to write: hue is the direction, saturation the magnitude",
    )
    inference.add_options(parser)
    parser.add_argument("--align", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    if options.align:
        print("flow: --align is deprecated; use --compensate-motion.", file=sys.stderr)
        options.compensate_motion = True
    _check_outputs(options)
    image1, image2 = read_image(options.image1), read_image(options.image2)
    with inference.open_engine(options) as flow_engine:
        flow = flow_engine.infer(image1, image2)
        summary = _summary(flow, flow_engine)
    # Write the files before printing: a closed stdout must not lose them.
    if options.output is not None:
        write_flow(options.output, flow)
    if options.picture is not None:
        write_image(options.picture, flow_to_color(flow))
    print(summary)
    for path in filter(None, (options.output, options.picture)):
        print("wrote", common.printable(path))
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, or that would replace an input or one another."""
    if options.output is None and options.picture is None:
        raise InputError("nothing to write; expected -o FILE, --picture FILE or both.")
    if options.output is not None:
        check_flow_format(options.output)
    if options.picture is not None:
        check_picture_format(options.picture)
    taken = {os.path.realpath(path): "an input" for path in (options.image1, options.image2)}
    for path in filter(None, (options.output, options.picture)):
        if not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: {path.parent} is not a folder. Create it.")
        if role := taken.get(os.path.realpath(path)):
            raise InputError(f"{path} is also {role}; expected another file to write to.")
        taken[os.path.realpath(path)] = "the other output"


def _summary(flow: Flow, flow_engine: engine.FlowEngine) -> str:
    magnitude = np.hypot(flow[..., 0], flow[..., 1])
    height, width = magnitude.shape
    return (
        f"{height}x{width}, mean {magnitude.mean():.2f} px, largest {magnitude.max():.2f} px; "
        f"{inference.describe(flow_engine)}"
    )
