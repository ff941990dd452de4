"""What ``flow video`` and ``flow folder`` share: options, checks of outputs, run and summary."""

import argparse
import os
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from engine.cli import common, inference
from engine.errors import InputError
from engine.flow.formats import FLOW_SUFFIXES
from engine.system.argument_types import positive_float
from engine.system.progress import progress_bar
from engine.system.threads import available_threads
from engine.video.frame import FrameSource
from engine.video.outputs import Output, Painter, color_pictures, color_video, flow_files
from engine.video.pipeline import FlowFrame, flow_frames
from engine.video.writer import VIDEO_SUFFIXES, check_video_format


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the outputs."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"colour video to write: {', '.join(VIDEO_SUFFIXES)}",
    )
    parser.add_argument("--flow", type=Path, metavar="DIR", help="folder for a flow file per frame")
    parser.add_argument(
        "--format", choices=FLOW_SUFFIXES, default=".flo", help="of the flow files (default: .flo)"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="folder for a colour picture (.png) per frame"
    )
    parser.add_argument(
        "--scale",
        type=positive_float,
        metavar="PX",
        help="magnitude that gets the full colour (default: the 99th percentile of the sequence so "
        "far, at least 1 px)",
    )
    parser.add_argument(
        "--warm-start",
        action="store_true",
        help="start a recurrent network, RAFT, from the last flow; needs a bundle built with "
        "--split",
    )
    parser.add_argument("--no-legend", action="store_true", help="leave the colour wheel out")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def check_outputs(options: argparse.Namespace, source: Path) -> None:
    """Refuse outputs that cannot be written, or would replace the source or, unforced, files."""
    folders = [folder for folder in (options.flow, options.pictures) if folder is not None]
    outputs = [path for path in (options.output, *folders) if path is not None]
    if not outputs:
        raise InputError("nothing to write; expected -o VIDEO, --flow DIR, --pictures DIR or more.")
    if options.output is not None:
        check_video_format(options.output)
        if options.output.exists() and not options.force:
            raise _exists(options.output, "")
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; expected a folder. Give another name.")
        if folder.is_dir() and any(folder.iterdir()) and not options.force:
            raise _exists(folder, " and contains files")
    taken = {os.path.realpath(source): "the source"}
    for path in outputs:
        if not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: {path.parent} is not a folder. Create it.")
        if role := taken.get(os.path.realpath(path)):
            raise InputError(f"{path} is also {role}; expected another name to write to.")
        taken[os.path.realpath(path)] = "another output"


def _exists(path: Path, more: str) -> InputError:
    return InputError(
        f"{path} exists{more}; expected a new name. Give another, or --force to overwrite."
    )


def run(options: argparse.Namespace, source: FrameSource) -> int:
    """Compute the flow of a sequence, write the outputs and print a summary; return 0."""
    size = source.height, source.width
    colored = options.output is not None or options.pictures is not None
    painter = Painter(*size, scale=options.scale, legend=not options.no_legend) if colored else None
    with inference.open_engine(options) as flow_engine:
        network = inference.describe(flow_engine)
        started = time.perf_counter()
        with ExitStack() as stack:
            outputs = list(_open_outputs(options, source, painter, stack))
            flows = flow_frames(source, flow_engine, warm_start=options.warm_start)
            count, motion = _write_all(flows, outputs, source)
        seconds = time.perf_counter() - started
    for fault in source.faults():
        print(f"flow: note: {common.printable(fault)}", file=sys.stderr)
    print(
        f"{count} flows of {size[0]}x{size[1]}, mean motion {motion:.2f} px; {seconds:.1f} s, "
        f"{count / seconds:.1f} frames/s; {network}"
    )
    if painter is not None:
        print(f"full colour at {painter.scale:.3g} px (--scale {painter.scale:.3g} repeats it)")
    for path in filter(None, (options.output, options.flow, options.pictures)):
        print("wrote", common.printable(path))
    return 0


def _open_outputs(
    options: argparse.Namespace, source: FrameSource, painter: Painter | None, stack: ExitStack
) -> Iterator[Output]:
    if options.flow is not None:
        yield flow_files(options.flow, options.format)
    if options.pictures is not None and painter is not None:
        yield color_pictures(options.pictures, painter)
    if options.output is not None and painter is not None:
        threads = options.threads or available_threads()
        yield stack.enter_context(color_video(options.output, source, painter, threads=threads))


def _write_all(
    steps: Generator[FlowFrame, None, None], outputs: Sequence[Output], source: FrameSource
) -> tuple[int, float]:
    """Write every flow to every output; return the number of flows and their mean motion."""
    expected = None if source.expected_frames is None else max(1, source.expected_frames - 1)
    count, motion, started = 0, 0.0, time.perf_counter()
    with closing(steps), progress_bar("", expected) as advance:
        for step in steps:
            for write in outputs:
                write(step)
            count += 1
            motion += float(step.magnitudes.mean())
            advance(f"{count / (time.perf_counter() - started):.1f} frames/s")
    return count, motion / count
