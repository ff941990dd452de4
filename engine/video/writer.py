"""A video file in H.264 from RGB images, each with its time."""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import BackendNotInstalledError, InputError, nearest
from engine.system.files import replacing
from engine.types import Image
from engine.video.container import import_av

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.stream import VideoStream

# Containers that hold H.264 and the time of each frame.
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v")
_ENCODER = "libx264"
# Pictures of flow have little texture: the fastest preset changes colours as little as "veryfast"
# does (1.5 levels on average), in a quarter of the time and 1.5 times the size.
_OPTIONS = {"preset": "ultrafast", "crf": "20"}
# Of flow alone, each image without reference to others takes half the time at the same size. The
# constant quantiser, which needs no analysis, saves another seventh: as "crf": "20", it changes
# colours by 1.5 levels on average.
_SMOOTH_OPTIONS = {"preset": "ultrafast", "qp": "25", "g": "1"}
_FLUSHED = {"flush_packets": "1"}  # a crash leaves what was encoded
_FINEST = Fraction(1, 1_000_000)  # seconds; MP4 and x264 keep units of time in 32 bits
_BT709, _LIMITED_RANGE = 1, 1  # codes of ITU-T H.273


def check_video_format(path: Path, suffixes: Collection[str] = VIDEO_SUFFIXES) -> None:
    """Raise ``InputError`` unless the suffix of ``path`` is one of these."""
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise InputError(
            f"{path}: a video cannot be written as {suffix!r}; expected one of "
            f"{', '.join(suffixes)}.{nearest(suffix, suffixes)}"
        )


@dataclass(frozen=True)
class Encoding:
    """How images become a video.

    Attributes:
        size: height and width of the images.
        rate: average number of images per second.
        time_base: unit of the times, in seconds.
        threads: CPU threads for encoding.
        smooth: whether the images are smooth, without texture: they are encoded one by one.
    """

    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    threads: int
    smooth: bool = False


@contextlib.contextmanager
def write_video(path: Path, encoding: Encoding) -> "Iterator[VideoWriter]":
    """Yield the writer of a video file, which appears when the block ends without an error.

    Args:
        path: a file with a suffix in `VIDEO_SUFFIXES`.
        encoding: sizes and times.

    Raises:
        BackendNotInstalledError: PyAV is not installed, or without x264.
        InputError: The suffix is none of `VIDEO_SUFFIXES`.
        OSError: The file cannot be written.
    """
    check_video_format(path)
    with replacing(path) as temporary, as_os_error(path), encode(temporary, encoding) as video:
        yield video


@contextlib.contextmanager
def encode(path: Path, encoding: Encoding, *, format: str | None = None) -> "Iterator[VideoWriter]":
    """Yield the writer of a file that is there from the start, whole or not.

    Images that the encoder still holds are also written if the block raises.

    Args:
        path: the file.
        encoding: sizes and times.
        format: FFmpeg's name of the container; None: that of the suffix.

    Raises:
        BackendNotInstalledError: PyAV is not installed, or without x264.
        av.FFmpegError: The file cannot be written.
    """
    av = import_av()
    if _ENCODER not in av.codecs_available:
        raise BackendNotInstalledError(
            f"the FFmpeg {av.ffmpeg_version_info} of this PyAV has no encoder {_ENCODER}; expected "
            "that of PyAV's wheel. Install it: pip install --force-reinstall --only-binary av av."
        )
    with av.open(f"file:{path}", "w", format=format, options=_FLUSHED) as container:
        options = _SMOOTH_OPTIONS if encoding.smooth else _OPTIONS
        stream = container.add_stream(_ENCODER, rate=encoding.rate, options=options)
        stream.thread_count = encoding.threads
        try:
            yield VideoWriter(container, stream, encoding.size, max(encoding.time_base, _FINEST))
        finally:
            container.mux(stream.encode(None))


@contextlib.contextmanager
def as_os_error(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors, of a full disk among others, into ``OSError`` about ``path``."""
    av = import_av()
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


class VideoWriter:
    """Encodes images; see `write_video`.

    4:2:0 needs even sizes: odd ones get a copy of their last row or column.
    """

    def __init__(
        self,
        container: "OutputContainer",
        stream: "VideoStream",
        size: tuple[int, int],
        time_base: Fraction,
    ) -> None:
        """Set the stream up for images of this height and width."""
        self._av = import_av()
        self._container, self._stream, self._time_base = container, stream, time_base
        self._size = size
        self._even = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._padding = [(0, side % 2) for side in size] + [(0, 0)]
        stream.height, stream.width = self._even
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        # Without this, players guess the matrix from the size, and the colours are off.
        stream.color_primaries = stream.color_trc = stream.colorspace = _BT709
        stream.color_range = _LIMITED_RANGE
        self._reformat = self._av.video.reformatter.VideoReformatter().reformat
        self._last = -1

    def write(self, image: Image, time: Fraction, *, corner: Image | None = None) -> None:
        """Add an image that is shown from ``time`` in seconds on.

        Args:
            image: (H, W, 3) uint8 RGB; one of another size than the video's is scaled.
            time: later than that of the image before; otherwise it is moved.
            corner: (h, w, 3) uint8 RGB, of even sizes, that covers the bottom right corner of the
                image.
        """
        if image.shape[:2] == self._size and self._size != self._even:
            image = np.pad(image, self._padding, mode="edge")
        frame = self._yuv(image, self._even)
        if corner is not None:
            self._paste(frame, self._yuv(corner, corner.shape[:2]))
        self._last = max(round(time / self._time_base), self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        self._container.mux(self._stream.encode(frame))

    def _yuv(self, image: Image, size: tuple[int, ...]) -> "VideoFrame":
        rgb = self._av.VideoFrame.from_ndarray(image, "rgb24")
        yuv: VideoFrame = self._reformat(
            *(rgb, size[1], size[0], "yuv420p"),
            dst_colorspace="ITU709",
            dst_color_range="MPEG",
            interpolation="BILINEAR",
        )
        return yuv

    def _paste(self, frame: "VideoFrame", corner: "VideoFrame") -> None:
        for target, source, half in zip(frame.planes, corner.planes, (1, 2, 2), strict=True):
            bottom, right = (side // half for side in self._size)
            rows, columns = corner.height // half, corner.width // half
            pixels = _pixels(source)[:rows, :columns]
            _pixels(target)[bottom - rows : bottom, right - columns : right] = pixels


def _pixels(plane: "VideoPlane") -> Image:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
