"""A video in parts: one for each run of a command that was interrupted and continued."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from engine.system.files import replacing
from engine.system.hidden_names import hidden_stem
from engine.video.container import import_av
from engine.video.writer import Encoding, VideoWriter, as_os_error, encode

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# Keeps times exactly, and can be read however it ends: https://ffmpeg.org/nut.html
_FORMAT = "nut"


@dataclass(frozen=True)
class Part:
    """The beginning of a video file.

    Attributes:
        path: of the file.
        images: how many of its images count, or more than it has.
    """

    path: Path
    images: int


class VideoParts:
    """Hidden files beside a video that is not finished yet, named after their first image.

    In each, every image but the first is predicted from the one before. So the beginning of a part
    is of use, of whatever length, and parts are joined without decoding.
    """

    def __init__(self, path: Path) -> None:
        """Name the parts of the video ``path``; nothing is written yet."""
        self._path = path

    def count(self) -> int:
        """Return the number of images in the parts."""
        count = 0
        for first, path in self._files():
            # The last one may be cut off.
            count = max(count, first + sum(1 for _ in packets(path)) - 1)
        return count

    @contextlib.contextmanager
    def write(self, first: int, how: Encoding) -> Iterator[VideoWriter]:
        """Yield the writer of a new part that begins with image ``first``.

        Parts that begin there or later are discarded. Whatever ends the block, the part stays if
        it contains an image that counts; see `count`.
        """
        self._discard(first)
        part = self._name(first)
        least = 2
        try:
            with as_os_error(self._path), encode(part, how, format=_FORMAT) as video:
                yield video
            least = 1  # it is whole
        finally:
            if sum(1 for _ in packets(part, least)) < least:
                part.unlink(missing_ok=True)

    def finish(self, write: Callable[[Path, Sequence[Part]], None]) -> None:
        """Write the video from its parts, then discard them.

        Args:
            write: called with a temporary name, which becomes the video's, and the parts.

        Raises:
            OSError: The video cannot be written; the parts stay.
        """
        files = self._files()
        ends = [number for number, _ in files[1:]] + [sys.maxsize]
        parts = [Part(path, end - number) for (number, path), end in zip(files, ends, strict=True)]
        with replacing(self._path) as temporary, as_os_error(self._path):
            write(temporary, parts)
        self._discard(0)

    def _discard(self, first: int) -> None:
        """Delete the parts that begin at image ``first`` or later.

        The last one comes first: whatever interrupts this, no part stays whose beginning is gone.
        """
        for number, path in reversed(self._files()):
            if number >= first:
                path.unlink()

    def _name(self, first: int) -> Path:
        return self._path.with_name(f"{hidden_stem(self._path)}.{first:08d}.part")

    def _files(self) -> list[tuple[int, Path]]:
        """Return the first image and the path of each part, in order."""
        pattern = re.compile(rf"{re.escape(hidden_stem(self._path))}\.(\d{{8}})\.part")
        names = ((pattern.fullmatch(path.name), path) for path in self._path.parent.iterdir())
        return sorted((int(match[1]), path) for match, path in names if match)


@contextlib.contextmanager
def opened(path: Path) -> "Iterator[tuple[InputContainer, VideoStream] | None]":
    """Yield a part's container and stream; None if it ends before its first image."""
    av = import_av()
    try:
        container = av.open(f"file:{path}")
    except av.FFmpegError:
        yield None
        return
    with container:
        yield (container, container.streams.video[0]) if container.streams.video else None


def packets(path: Path, images: int = sys.maxsize) -> "Iterator[Packet[VideoStream]]":
    """Yield the encoded images of a part."""
    with opened(path) as part:
        if part is not None:
            container, stream = part
            encoded = (packet for packet in container.demux(stream) if packet.size)
            yield from islice(encoded, images)


def join(path: Path, parts: Sequence[Part]) -> None:
    """Write a video of the images of the parts, without encoding them again."""
    av = import_av()
    with av.open(f"file:{path}", "w") as output:
        stream = None
        for part in parts:
            for packet in packets(part.path, part.images):
                if stream is None:
                    stream = output.add_stream_from_template(packet.stream)
                packet.stream = stream
                output.mux(packet)
