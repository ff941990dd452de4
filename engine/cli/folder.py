"""``flow folder``: the flow from each picture of a folder to the next."""

import argparse
from fractions import Fraction
from pathlib import Path

from engine.cli import common, sequence
from engine.system.argument_types import positive_float
from engine.video.picture_reader import DEFAULT_RATE, PictureReader

_EPILOG = """examples:
  flow folder frames --flow flow -o colours
  flow folder frames -o flow.mp4 --fps 30

Pictures are taken in natural order: frame2.png before frame10.png."""


def add_command(commands: common.Commands) -> None:
    """Add ``folder`` to the parser's commands."""
    parser = common.add_command(
        commands,
        "folder",
        run,
        help="compute the flow from each picture of a folder to the next",
        epilog=_EPILOG,
    )
    parser.add_argument("folder", type=Path, help="folder of pictures, all of one size")
    common.add_levels_option(parser)
    sequence.add_options(parser)
    parser.add_argument(
        "--fps",
        type=positive_float,
        default=DEFAULT_RATE,
        help=f"frames per second of the video (default: {DEFAULT_RATE})",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    journal = sequence.open_journal(options, options.folder)
    frames = PictureReader(options.folder, rate=Fraction(str(options.fps)), levels=options.levels)
    return sequence.run(options, frames, journal)
