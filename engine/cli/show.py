"""``flow show``: what flow files contain, as numbers and as pictures."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from operator import add
from pathlib import Path

from engine.cli import colours, common, flow_files
from engine.cli.outputs import (
    STREAM,
    OutputNames,
    check_folder_name,
    shown,
    write_bytes,
    write_in_folder,
)
from engine.data.listing import PICTURE_SUFFIXES
from engine.errors import InputError
from engine.flow.picture import flow_picture, with_histogram
from engine.flow.scale import color_scale, three_digits
from engine.flow.statistics import FlowStatistics
from engine.images import bytes_from_image, check_picture_format
from engine.types import Image

_EPILOG = """examples:
  flow show flow.flo
  flow show flow.flo -o flow.png --histogram
  flow show before.flo after.flo -o pictures
  flow show flows -o pictures --scale 20
  flow show dance.zarr:12 -o flow.png
  flow show - -o - < flow.flo > flow.png

Several files share one scale and one histogram. Unknown flow is black."""
_BARS = 40  # characters


def add_command(commands: common.Commands) -> None:
    """Add ``show`` to the parser's commands."""
    parser = common.add_command(
        commands,
        "show",
        run,
        help="show what flow files contain, as numbers and as pictures",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="flow file, folder of flow files, store, STORE.zarr:NUMBER, or - for stdin",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE|DIR",
        help="picture to write, or - for stdout (.png); of several files, a folder of .png files",
    )
    flow_files.add_from_option(parser)
    colours.add_options(parser)
    parser.add_argument(
        "--histogram", action="store_true", help="draw the histogram below each picture"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    files = dict(_files(options.files, options.source))
    pictures = _pictures(options, files)
    read = lru_cache(1)(flow_files.read)  # once if there is one file, perhaps stdin
    statistics = {}
    for path in files:
        flow = read(path)
        statistics[path] = flow.shape[:2], FlowStatistics.of(flow)
    total = reduce(add, (each for _, each in statistics.values()))
    scale = options.scale or three_digits(color_scale(total.magnitudes))
    for path, picture in pictures.items():
        image = flow_picture(read(path), scale, legend=not options.no_legend)
        if options.histogram:
            image = with_histogram(image, statistics[path][1])
        _write(picture, image)
    summary = _table(statistics, total)
    if pictures:
        summary += ["", colours.describe(scale)]
        files_written = (path for path in pictures.values() if path != STREAM)
        summary += [f"wrote {common.printable(path)}" for path in files_written]
    print("\n".join(summary), file=sys.stderr if options.output == STREAM else sys.stdout)
    return 0


def _files(paths: Sequence[Path], source: str | None) -> Iterator[tuple[Path, str]]:
    """Yield the flow files, and the names of their pictures without suffix."""
    if len(paths) > 1 and STREAM in paths:
        raise InputError("- and other files were given; expected stdin alone, or files.")
    for path in paths:
        if path.is_dir():
            yield from flow_files.in_folder(path, source).items()
        else:
            yield path, flow_files.name_of(path)


def _pictures(options: argparse.Namespace, files: Mapping[Path, str]) -> dict[Path, Path]:
    """Return the picture of each file, checked; none without ``-o``."""
    output = options.output
    if output is None:
        if options.histogram:
            raise InputError("--histogram is drawn into a picture; expected -o too. Add it.")
        return {}
    names = OutputNames(files, force=options.force)
    if len(files) == 1 and not output.is_dir():
        if output != STREAM:
            check_picture_format(output)
        names.add(output)
        return dict.fromkeys(files, output)
    check_folder_name(output, PICTURE_SUFFIXES)
    pictures = {path: output / f"{name}.png" for path, name in files.items()}
    names.add_folder(output, pictures.values())
    return pictures


def _write(picture: Path, image: Image) -> None:
    if picture == STREAM:
        write_bytes(picture, bytes_from_image(image, "picture.png"))
    else:
        write_in_folder(picture, bytes_from_image(image, picture))


def _table(
    statistics: Mapping[Path, tuple[tuple[int, int], FlowStatistics]], total: FlowStatistics
) -> list[str]:
    """Return the lines of the statistics and of the histogram of all files."""
    rows = [_row(shown(path), f"{h}x{w}", each) for path, ((h, w), each) in statistics.items()]
    if len(rows) > 1:
        rows.append(_row(f"all {len(rows)}", "", total))
    heading = ("flow", "size", "min px", "mean px", "max px", "unknown")
    return [*common.aligned([heading, *rows]), *_histogram(total)]


def _row(name: str, size: str, statistics: FlowStatistics) -> tuple[str, ...]:
    unknown = f"{100 * statistics.unknown_share:.1f} %"
    if statistics.mean is None:
        return common.printable(name), size, "-", "-", "-", unknown
    figures = statistics.least, statistics.mean, statistics.largest
    return common.printable(name), size, *(f"{value:.2f}" for value in figures), unknown


def _histogram(statistics: FlowStatistics) -> list[str]:
    classes = statistics.classes()
    if not classes:
        return []
    longest = max(share for _, share in classes)
    wide = max(len(name) for name, _ in classes)
    return ["", "magnitude, and share of the known pixels"] + [
        f"{name:>{wide}}  {100 * share:5.1f} %  {'#' * round(_BARS * share / longest)}".rstrip()
        for name, share in classes
    ]
