"""The outputs of ``flow video`` and ``flow folder``: options, checks of names, and objects."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.cli import colours, flow_files, stores
from engine.cli.outputs import OutputNames
from engine.errors import InputError
from engine.flow.formats import FLOW_SUFFIXES
from engine.store.writer import check_store_name
from engine.system.threads import available_threads
from engine.video.frame import FrameSource
from engine.video.outputs import (
    MOVIE_SUFFIXES,
    FlowFiles,
    Movie,
    Output,
    Pictures,
    StoredFlows,
    check_movie_format,
)
from engine.video.painter import Painter
from engine.video.views import Arrows, Colors, Overlay, SideBySide, View

# Options whose value is a video or, without a suffix, a folder for pictures.
_VIEWS: dict[str, type[View]] = {
    "output": Colors,
    "side_by_side": SideBySide,
    "overlay": Overlay,
    "arrows": Arrows,
}


# Encoding gets one of so many CPU threads. Inference uses all of them, and each that is interrupted
# keeps the others waiting: on two cores two threads for the encoder take 1.2 times as long as one.
_ENCODER_SHARE = 4
# Videos of this shorter side are coloured at a quarter of the resolution, in which most networks
# compute; smaller ones at half, which nobody can tell from all of it.
_LARGE = 1080


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the outputs."""
    group = parser.add_argument_group(
        "outputs", f"OUT is a video ({', '.join(MOVIE_SUFFIXES)}) or a folder for pictures (.png)"
    )
    group.add_argument("-o", "--output", type=Path, metavar="OUT", help="colours of the flow")
    group.add_argument(
        "--side-by-side", type=Path, metavar="OUT", help="each frame, and its colours beside it"
    )
    group.add_argument("--overlay", type=Path, metavar="OUT", help="colours over each frame")
    group.add_argument("--arrows", type=Path, metavar="OUT", help="arrows over each frame")
    group.add_argument("--flow", type=Path, metavar="DIR", help="folder for a flow file per frame")
    group.add_argument(
        "--format",
        type=flow_files.suffix,
        default=".flo",
        metavar="SUFFIX",
        help=f"of the flow files: {', '.join(FLOW_SUFFIXES)} (default: .flo; .png is KITTI's)",
    )
    group.add_argument(
        "--store", type=Path, metavar="FILE.zarr", help="all flows in one compressed store"
    )
    stores.add_step_option(group)
    group.add_argument(
        "--show", action="store_true", help="show frames and colours on a page for your browser"
    )
    group.add_argument(
        "--force", action="store_true", help="overwrite files that exist; others in a folder stay"
    )
    colours.add_options(parser)


def paths(options: argparse.Namespace) -> list[Path]:
    """Return the names of all outputs."""
    names = (*_VIEWS, "flow", "store")
    return [path for name in names if (path := getattr(options, name)) is not None]


def check(options: argparse.Namespace, inputs: Iterable[Path], *, resumed: bool) -> None:
    """Refuse outputs that cannot be written, or would replace the source or, unforced, files.

    Args:
        options: of the command.
        inputs: what is read.
        resumed: whether files that exist may be those of an interrupted run.

    Raises:
        InputError: An output is refused, or there is none.
    """
    if not paths(options) and not options.show:
        raise InputError("nothing to write; expected -o OUT, --flow DIR or more; see --help.")
    names = OutputNames(inputs, force=options.force or resumed)
    for path in paths(options):
        if path == options.store:
            check_store_name(path)
            names.add_new_folder(path)
        elif path == options.flow or not path.suffix:
            names.add_new_folder(path)
        else:
            check_movie_format(path)
            names.add(path)


def outputs(options: argparse.Namespace, source: FrameSource, painter: Painter) -> Iterator[Output]:
    """Yield the outputs; nothing is written yet."""
    legend = not options.no_legend
    threads = max(1, (options.threads or available_threads()) // _ENCODER_SHARE)
    for name, view in _VIEWS.items():
        path = getattr(options, name)
        if path is None:
            continue
        if path.suffix:
            every = 2 if min(source.height, source.width) < _LARGE else 4
            yield Movie(path, view(painter, every=every), source, legend=legend, threads=threads)
        else:
            yield Pictures(path, view(painter), legend=legend)
    if options.flow is not None:
        yield FlowFiles(options.flow, options.format)
    if options.store is not None:
        bundle = options.bundle or DEFAULT_BUNDLE
        yield StoredFlows(options.store, source, bundle=bundle, step=options.store_step)
