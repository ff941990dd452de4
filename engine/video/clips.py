"""Clips by their names on a command line: videos, folders of pictures, stores, folders of those."""

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from engine.data.listing import PICTURE_SUFFIXES, list_files, list_folders, natural
from engine.errors import InputError
from engine.images import LevelsChoice
from engine.store.writer import STORE_SUFFIX
from engine.video.frame import FrameSource
from engine.video.picture_reader import DEFAULT_RATE, PictureReader
from engine.video.reader import VideoReader

# Which files of a folder are taken for videos; a file that is named is opened in any case.
SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip


def clips_in(names: Iterable[str]) -> Iterator[Path]:
    """Yield the clips of files, folders and patterns, in natural order.

    A folder of pictures is one clip, and the pictures' order is that of their names; any other
    folder stands for the videos, stores and folders in it. What does not exist is yielded as it is.

    Args:
        names: paths, or patterns with ``*``, ``?``, ``[...]`` and ``**``.
    """
    for name in names:
        path = Path(name)
        matching = [] if os.path.exists(name) else map(Path, glob.glob(name, recursive=True))
        for found in sorted(matching, key=natural) or [path]:
            yield from _clips(found)


def _clips(path: Path) -> Iterator[Path]:
    if path.suffix.lower() == STORE_SUFFIX or not os.path.isdir(path):
        yield path
        return
    videos, folders = list_files(path, SUFFIXES), list_folders(path)
    if list_files(path, PICTURE_SUFFIXES) or not (videos or folders):
        yield path
    yield from videos
    for folder in folders:
        yield from _clips(folder)


@contextmanager
def open_clip(
    path: Path, *, stride: int, threads: int | None, levels: LevelsChoice | None = None
) -> Iterator[FrameSource]:
    """Open a video or a folder of pictures; see the errors of `VideoReader`, `PictureReader`."""
    if os.path.isdir(path):
        if not list_files(path, PICTURE_SUFFIXES):
            raise InputError(
                f"{path} contains no clip; expected videos, pictures or stores (.zarr) in it or in "
                "its folders. Give another folder."
            )
        yield PictureReader(path, rate=Fraction(DEFAULT_RATE), stride=stride, levels=levels)
    else:
        with VideoReader(path, stride=stride, threads=threads) as video:
            yield video
