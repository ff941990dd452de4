"""``flow video``: the flow of a video file, as a colour video and as files."""

import argparse
import re
from pathlib import Path

from engine.cli import common, sequence, sequence_outputs
from engine.errors import InputError
from engine.system.argument_types import non_negative_float, positive_float, positive_int
from engine.video.camera import Camera
from engine.video.reader import VideoReader

_EPILOG = """examples:
  flow video dance.mp4 -o dance-flow.mp4
  flow video dance.mp4 -o part.mp4 --start 10 --end 12.5 --scale 20
  flow video dance.mp4 --flow dance-flow --format .png --arrows arrows.gif --fps 10
  flow video 0 --show

Colours: hue is the direction, saturation the magnitude. Damaged frames are left out and counted."""


def add_command(commands: common.Commands) -> None:
    """Add ``video`` to the parser's commands."""
    parser = common.add_command(
        commands,
        "video",
        run,
        help="compute the flow of a video, from each frame to the next",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "video",
        type=Path,
        help="video file, of any kind that FFmpeg reads, or the number of a camera, from 0",
    )
    frames = parser.add_argument_group("frames")
    frames.add_argument(
        "--start", type=non_negative_float, default=0, metavar="S", help="leave out what is before"
    )
    frames.add_argument(
        "--end", type=positive_float, metavar="S", help="leave out this second and what is after"
    )
    frames.add_argument(
        "--stride",
        type=positive_int,
        default=1,
        metavar="N",
        help="use every N-th frame; the flow is from each of them to the next",
    )
    frames.add_argument(
        "--fps", type=positive_float, metavar="F", help="use at most F frames per second"
    )
    sequence.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    number = str(options.video)
    part = {"end": options.end, "stride": options.stride, "fps": options.fps}
    if re.fullmatch("[0-9]{1,4}", number) and not options.video.exists():
        if options.start:
            raise InputError("--start is for files; a camera starts now. Leave it out.")
        sequence_outputs.check(options, [], resumed=False)
        with Camera(int(number), **part) as camera:
            return sequence.run(options, camera, None)
    journal = sequence.open_journal(options, options.video)
    with VideoReader(
        options.video,
        start=options.start,
        motion=options.compensate_motion,
        threads=options.threads,
        **part,
    ) as frames:
        return sequence.run(options, frames, journal)
