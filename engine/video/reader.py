"""Frames of a video file, in order, with their times."""

import itertools
import math
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from engine.errors import InputError
from engine.system.threads import available_threads
from engine.types import Image
from engine.video.container import import_av
from engine.video.decoder import Decoder
from engine.video.frame import Frame
from engine.video.motion_vectors import DECODER_OPTIONS, MotionVectors, stored_vectors
from engine.video.thinning import Thinning


class VideoReader:
    """The frames of a video file, decoded one after the other; an iterator and context manager.

    Memory does not grow with the length. A damaged frame is left out and counted. Rotation metadata
    is applied, and every pixel format becomes 8-bit RGB. The frames can be read once.

    Attributes:
        path: of the file.
        height: of the upright frames, in pixels.
        width: of the upright frames, in pixels.
        begin: time of the first frame.
        rate: average number of frames per second.
        time_base: unit of the frames' times in the file, in seconds.
        expected_frames: number of frames that will be read, as the file promises; None if it
            promises nothing.
        live: False.
    """

    live = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start: float = 0,
        end: float | None = None,
        stride: int = 1,
        fps: float | None = None,
        motion: bool = False,
        threads: int | None = None,
    ) -> None:
        """Open a video and decode its first two frames.

        Args:
            path: a file in any container and codec that FFmpeg reads.
            start: seconds; earlier frames are left out.
            end: seconds; this and later frames are left out. None: the whole video.
            stride: N; only every N-th frame is used.
            fps: largest number of frames per second; None: no limit. See `Thinning`.
            motion: whether frames get the global motion that the codec's motion vectors show.
            threads: CPU threads for decoding; by default all that the process may use.

        Raises:
            BackendNotInstalledError: PyAV is not installed.
            InputError: The file is no video, fewer than two frames can be read, or an argument is
                out of range.
            OSError: The file cannot be read.
        """
        if not 0 <= start < (np.inf if end is None else end):
            raise InputError(
                f"start is {start} s and end is {end} s; expected a start of at least 0 s and an "
                "end after it."
            )
        self.path = Path(path)
        self._start, self._end = start, end
        self._thinning = Thinning(stride=stride, fps=fps)
        self._vectors = MotionVectors() if motion else None
        self._decoder = Decoder(
            self.path,
            threads=threads or available_threads(),
            options=DECODER_OPTIONS if motion else {},
        )
        self.rate = self._thinning.rate(self._decoder.rate)
        self.time_base = self._decoder.time_base
        self.expected_frames = self._expected_frames()
        self._rest = self._read()
        try:
            first = list(itertools.islice(self._rest, 2))
            if len(first) < 2:
                raise InputError(self._too_few(len(first)))
        except BaseException:
            self.close()
            raise
        self.begin = first[0].time
        self.height, self.width = first[0].image.shape[:2]
        self._frames = itertools.chain(first, self._rest)

    def __iter__(self) -> Iterator[Frame]:
        """Return the iterator itself."""
        return self

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            InputError: Its size differs from that of the frames before.
        """
        return next(self._frames)

    def faults(self) -> list[str]:
        """Return what was wrong with the file as far as it was read, one sentence each."""
        faults, decoder = [], self._decoder
        if decoder.damaged:
            faults.append(f"{self.path}: {decoder.damaged} damaged frame(s) were left out.")
        if decoder.incomplete:
            whole = "" if decoder.duration is None else f" of {float(decoder.duration):.1f} s"
            faults.append(
                f"{self.path} breaks off after {float(decoder.last_time or 0):.1f} s{whole}: the "
                "file is incomplete."
            )
        return faults

    def close(self) -> None:
        """Close the file."""
        self._rest.close()
        self._decoder.close()

    def __enter__(self) -> "VideoReader":
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _expected_frames(self) -> int | None:
        promised, decoder = self._decoder.duration, self._decoder
        whole = self._start == 0 and self._end is None and self.rate == decoder.rate
        if whole and decoder.frame_count:
            return decoder.frame_count
        ends = [float(end) for end in (promised, self._end) if end is not None]
        if not ends:
            return None
        return max(0, math.ceil(min(ends) * self.rate) - math.ceil(self._start * self.rate))

    def _read(self) -> Generator[Frame, None, None]:
        """Yield the frames from start to end."""
        to_rgb = import_av().video.reformatter.VideoReformatter().reformat
        names = (f"{index:06d}" for index in itertools.count())
        shape = None
        for time, decoded in self._decoder.frames(start=self._start):
            if self._vectors is not None:
                vectors = stored_vectors(decoded)
                self._vectors.see(decoded, vectors, missing=self._decoder.damaged)
            # As floats: 1/10 is less than the float 0.1.
            if self._end is not None and float(time) >= self._end:
                return
            if float(time) < self._start or not self._thinning.keeps(time):
                continue
            image = _upright(to_rgb(decoded, format="rgb24").to_ndarray(), decoded.rotation)
            shape = shape or image.shape
            if image.shape != shape:
                raise InputError(
                    f"{self.path}: the frame at {float(time):.3f} s is {_size(image.shape)}, those "
                    f"before are {_size(shape)}; expected one size. Read up to this time, and the "
                    "rest by itself."
                )
            motion = None if self._vectors is None else self._vectors.take()
            yield Frame(next(names), time, image, motion)

    def _too_few(self, count: int) -> str:
        found = "only one frame" if count else "no frame"
        found += self._thinning.description
        if self._decoder.damaged:
            found += f" that can be decoded ({self._decoder.damaged} damaged)"
        if self._start or self._end is not None:
            end = "the end" if self._end is None else f"{self._end:g} s"
            lasts = self._decoder.duration
            length = "" if lasts is None else f" (it lasts {float(lasts):.1f} s)"
            found += f" from {self._start:g} s to {end}{length}"
        return f"{self.path} has {found}; expected at least two. Give a longer video or range."


def _upright(image: Image, rotation: int) -> Image:
    """Rotate an image counter-clockwise by ``rotation`` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(image, round(rotation / 90)))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
