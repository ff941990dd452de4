"""``flow infer``: optical flow between two pictures."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import engine
from engine.cli import colours, common, flow_files, inference
from engine.cli.outputs import STREAM, OutputNames, read_stdin, shown, write_bytes
from engine.errors import InputError
from engine.flow.formats import FLOW_SUFFIXES, bytes_from_flow, check_flow_format
from engine.flow.picture import flow_picture, own_scale
from engine.flow.statistics import FlowStatistics
from engine.images import bytes_from_image, check_picture_format, images_from_bytes, read_picture
from engine.types import Flow, Image

_EPILOG = """examples:
  flow infer frame1.png frame2.png -o flow.flo --picture flow.png
  flow infer frame1.png frame2.png -o flow.npy --bundle build/mine --backend openvino
  flow infer frame1.png frame2.png --picture flow.png --scale 20 --json
  grab-frame | flow infer frame1.png - -o - | flow show -

One image may come from stdin. One output may go to stdout; the summary then goes to stderr."""


def add_command(commands: common.Commands) -> None:
    """Add ``infer`` to the parser's commands."""
    parser = common.add_command(
        commands, "infer", run, help="compute the flow from one image to another", epilog=_EPILOG
    )
    parser.add_argument("image1", type=Path, help="first image, or - for stdin")
    parser.add_argument("image2", type=Path, help="second image, of the same size, or - for stdin")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"flow file to write: {', '.join(FLOW_SUFFIXES)} (.png is KITTI's), or - for stdout",
    )
    parser.add_argument(
        "--format",
        type=flow_files.suffix,
        metavar="SUFFIX",
        help="of the flow on stdout (default: .flo)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="picture of the flow to write, or - for stdout (.png): hue is the direction, "
        "saturation the magnitude",
    )
    colours.add_options(parser)
    common.add_levels_option(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    inference.add_options(parser)
    parser.add_argument("--align", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    if options.align:
        print("flow: --align is deprecated; use --compensate-motion.", file=sys.stderr)
        options.compensate_motion = True
    _check_outputs(options)
    image1, image2 = _read(options)
    if image1.shape != image2.shape:
        one, two = (f"{image.shape[0]}x{image.shape[1]}" for image in (image1, image2))
        raise InputError(
            f"{shown(options.image1)} is {one} and {shown(options.image2)} is {two}; expected one "
            "size. Crop or resize one of them."
        )
    with inference.open_engine(options) as flow_engine:
        flow = flow_engine.infer(image1, image2)
        summary = _summary(flow, flow_engine)
    if options.picture is not None:
        summary["scale_px"] = options.scale or own_scale(flow)
    # Write the files before printing: a closed stdout must not lose them.
    summary["written"] = _write(options, flow, summary.get("scale_px"))
    if STREAM in (options.output, options.picture):
        print(_text(summary), file=sys.stderr)
    else:
        print(json.dumps(summary) if options.json else _text(summary))
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, or that would replace something."""
    outputs = list(filter(None, (options.output, options.picture)))
    if not outputs:
        raise InputError("nothing to write; expected -o FILE, --picture FILE or both.")
    if STREAM == options.image1 == options.image2:
        raise InputError("both images are -; stdin has one. Give the name of the other's file.")
    if options.json and STREAM in outputs:
        raise InputError("--json and - both write to stdout; expected one. Leave --json out.")
    if options.format is not None and options.output != STREAM:
        raise InputError("--format is for -o -: a file has the format of its suffix.")
    if options.output not in (None, STREAM):
        check_flow_format(options.output)
    if options.picture not in (None, STREAM):
        check_picture_format(options.picture)
    names = OutputNames((options.image1, options.image2), force=options.force)
    for path in outputs:
        names.add(path)


def _read(options: argparse.Namespace) -> list[Image]:
    contents = [
        (read_stdin() if path == STREAM else read_picture(path), shown(path))
        for path in (options.image1, options.image2)
    ]
    return images_from_bytes(contents, options.levels)


def _write(options: argparse.Namespace, flow: Flow, scale: float | None) -> list[str]:
    """Write the outputs and return their names."""
    written = []
    if options.output is not None:
        name = f"flow{options.format or '.flo'}" if options.output == STREAM else options.output
        write_bytes(options.output, bytes_from_flow(flow, name))
        written.append(options.output)
    if scale is not None:
        picture = flow_picture(flow, scale, legend=not options.no_legend)
        name = "picture.png" if options.picture == STREAM else options.picture
        write_bytes(options.picture, bytes_from_image(picture, name))
        written.append(options.picture)
    return [common.printable(path) for path in written if path != STREAM]


def _summary(flow: Flow, flow_engine: engine.FlowEngine) -> dict[str, Any]:
    statistics = FlowStatistics.of(flow)
    manifest, backend = flow_engine.manifest, flow_engine.backend
    height, width, _ = flow.shape
    return {
        "height": height,
        "width": width,
        "mean_px": statistics.mean,
        "largest_px": statistics.largest,
        "network": manifest.network,
        "precision": manifest.precision,
        "backend": backend.name,
        "device": backend.device,
    }


def _text(summary: dict[str, Any]) -> str:
    lines = [
        "{height}x{width}, mean {mean_px:.2f} px, largest {largest_px:.2f} px; "
        "{network} {precision}, {backend} on {device}".format(**summary),
        *([colours.describe(summary["scale_px"])] if "scale_px" in summary else []),
        *(f"wrote {name}" for name in summary["written"]),
    ]
    return "\n".join(lines)
