"""The clips that a command line names: a list of them, or a folder."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.cli.outputs import STREAM, shown
from engine.errors import InputError
from engine.system.bounded_reading import opened, read_up_to
from engine.video.clips import SUFFIXES, clips_in

_LONGEST_LIST = 1 << 30  # bytes; a million names of 100 bytes are a tenth of it


def clips(source: Path, output: Path) -> list[Path]:
    """Return the absolute paths of the clips, in order.

    Args:
        source: a folder, a video, a text file with a name on each line, or ``STREAM``.
        output: where the results go, which may be no clip.

    Raises:
        InputError: There is no clip, the list is no text, or the output is among the clips.
        OSError: The list cannot be read.
    """
    one = source != STREAM and (source.is_dir() or source.suffix.lower() in SUFFIXES)
    names = [str(source)] if one else list(_lines(source))
    found = [path.absolute() for path in clips_in(names)]
    if not found:
        raise InputError(f"{shown(source)} names no clip; expected one on each line.")
    place = os.path.realpath(output)
    for name in names:
        above = os.path.realpath(name)
        if os.path.isdir(above) and os.path.commonpath([above, place]) == above:
            raise InputError(
                f"{output} is inside {name}, which is read; expected another place, so that no "
                "result is taken for a clip."
            )
    return found


def _lines(source: Path) -> Iterator[str]:
    expected = "a folder, a video, or a text file with the name of a clip on each line."
    if source == STREAM:
        content = read_up_to(sys.stdin.buffer, _LONGEST_LIST + 1)
    else:
        with opened(source, expected) as stream:
            content = read_up_to(stream, _LONGEST_LIST + 1)
    if len(content) > _LONGEST_LIST or b"\0" in content:
        raise InputError(f"{shown(source)} is no list; expected {expected}")
    for line in os.fsdecode(bytes(content)).splitlines():
        if line.strip():
            yield line.strip()
