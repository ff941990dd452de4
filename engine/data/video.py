"""The frames of a video file, each with the next one, without flow."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.pair import PairsError
from engine.errors import InputError
from engine.types import Image
from engine.video.reader import VideoReader


class _Video:
    """Frames by their number. In order, each is decoded once; going back starts from the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: VideoReader | None = None
        self._next = 0
        self._latest: Image | None = None

    def names(self) -> list[str]:
        """Decode the whole video and return the names of its frames.

        Raises:
            InputError: It is no video, or a part of it cannot be decoded.
        """
        with VideoReader(self.path) as reader:
            names = [frame.name for frame in reader]
            for fault in reader.faults():
                raise InputError(f"{fault} Expected a whole video: convert it.")
        return names

    def frame(self, index: int) -> Image:
        if self._latest is None or index < self._next - 1:
            if self._reader is not None:
                self._reader.close()
            self._reader, self._next = VideoReader(self.path), 0
        while self._next <= index:
            assert self._reader is not None
            self._latest, self._next = next(self._reader).image, self._next + 1
        assert self._latest is not None
        return self._latest


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video in place of a picture file."""

    video: _Video
    index: int
    name: str

    def __str__(self) -> str:
        """Return the file and the frame, for messages."""
        return f"{self.video.path}, frame {self.name}"

    def read(self) -> Image:
        """Decode the frame.

        Raises:
            InputError: Its size differs from that of the frames before.
        """
        return self.video.frame(self.index)


def _find_pairs(path: Path, _: str | None, __: str | None) -> list[PairFiles]:
    if path.is_dir():
        raise PairsError(
            f"{path} is a folder; expected a video file: use frames:{path} for a folder of pictures"
        )
    video = _Video(path)
    try:
        names = video.names()
    except InputError as error:
        raise PairsError(str(error)) from error
    frames = [VideoFrame(video, index, name) for index, name in enumerate(names)]
    return [
        PairFiles(one.name, one, two, None, sequence=path.stem)
        for one, two in itertools.pairwise(frames)
    ]


VIDEO = DataSet("video", _find_pairs, layout="a video file", is_file=True)
