"""Decoded frames of a video stream with their times; damaged ones are counted and left out."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from engine.system.pixel_limit import max_pixels
from engine.video.container import import_av, open_video

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_DEFAULT_RATE = Fraction(25)  # FFmpeg's own, for streams that state none
# A file is incomplete if it ends this many seconds, or this share of it, earlier than it promises.
# Its audio may be a little longer than its frames.
_EARLY, _EARLY_SHARE = Fraction(1), Fraction(1, 4)


class Decoder:
    """An open video file.

    Attributes:
        rate: average number of frames per second.
        time_base: unit of the frames' times in the file, in seconds.
        duration: seconds that the file promises; None if it states nothing.
        frame_count: number of frames that the file promises; None if it states nothing.
        damaged: number of frames that could not be decoded so far.
        last_time: of the last decoded frame, in seconds since the start of the video.
        incomplete: whether the file broke off earlier than it promises.
    """

    def __init__(self, path: Path, *, threads: int, options: Mapping[str, str]) -> None:
        """Open a video; ``options`` are FFmpeg's of a decoder, errors those of `open_video`."""
        self._av = import_av()
        self._path, self._threads, self._options = path, threads, options
        self._open()
        self.rate = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE
        self.time_base = self._stream.time_base or 1 / self.rate
        self.duration = self._duration()
        self.frame_count = self._stream.frames or None
        self.incomplete = False

    def frames(self, *, start: float = 0) -> "Iterator[tuple[Fraction, VideoFrame]]":
        """Yield each frame and its time, from the last key frame before ``start`` on."""
        frames = self._timed_frames()
        if start and self._seek(start):
            first = next(frames, None)
            if first is not None and float(first[0]) <= start:
                yield first
            else:  # there was no such key frame, or the container does not find it
                self._container.close()
                self._open()
                frames = self._timed_frames()
        yield from frames
        if self.duration is not None:
            early = min(_EARLY, _EARLY_SHARE * self.duration)
            self.incomplete |= self._end + early < self.duration

    def close(self) -> None:
        """Close the file; no iterator over its frames may be in use."""
        self._container.close()

    def _duration(self) -> Fraction | None:
        if self._stream.duration is not None:
            return self._stream.duration * self.time_base
        whole = self._container.duration
        return None if whole is None else Fraction(whole, self._av.time_base)

    def _open(self) -> None:
        self._container, self._stream = open_video(self._path)
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = self._threads
        self._stream.codec_context.options = {
            **self._options,
            "max_pixels": str(max_pixels()),
        }
        self.damaged = 0
        self.last_time: Fraction | None = None
        self._end = Fraction(0)  # of the last decoded frame

    def _seek(self, time: float) -> bool:
        """Go to the key frame before ``time``; return False if the file has no index for it."""
        if self._stream.start_time is None:
            return False
        offset = self._stream.start_time + int(time / self.time_base)
        with suppress(self._av.FFmpegError):
            self._container.seek(offset, stream=self._stream)
            return True
        return False

    def _timed_frames(self) -> "Iterator[tuple[Fraction, VideoFrame]]":
        origin = self._stream.start_time or 0
        for frame in self._intact_frames():
            time = None if frame.pts is None else (frame.pts - origin) * self.time_base
            if self.last_time is not None and (time is None or time <= self.last_time):
                time = self.last_time + 1 / self.rate  # raw streams have no times, others wrap
            self.last_time = time or Fraction(0)
            self._end = self.last_time + max((frame.duration or 0) * self.time_base, 1 / self.rate)
            yield self.last_time, frame

    def _intact_frames(self) -> "Iterator[VideoFrame]":
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._av.FFmpegError:  # the rest of the file cannot be found
                self.incomplete = True
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except self._av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:  # pieces of it are made up
                    self.damaged += 1
                else:
                    yield frame
