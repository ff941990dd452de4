"""A video file in H.264 from RGB images, each with its time."""

import contextlib
from collections.abc import Iterator
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
    from av.video.stream import VideoStream

# Containers that hold H.264 and the time of each frame.
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v")
_ENCODER = "libx264"
# Pictures of flow are smooth: the fastest preset changes colours as little as "veryfast" does (1.5
# levels on average), in a quarter of the time and 1.5 times the size.
_OPTIONS = {"preset": "ultrafast", "crf": "20"}
_FINEST = Fraction(1, 1_000_000)  # seconds; MP4 and x264 keep units of time in 32 bits
_BT709, _LIMITED_RANGE = 1, 1  # codes of ITU-T H.273


def check_video_format(path: Path) -> None:
    """Raise ``InputError`` unless the suffix of ``path`` is in `VIDEO_SUFFIXES`."""
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise InputError(
            f"{path}: a video cannot be written as {suffix!r}; expected one of "
            f"{', '.join(VIDEO_SUFFIXES)}.{nearest(suffix, VIDEO_SUFFIXES)}"
        )


@contextlib.contextmanager
def write_video(
    path: Path, size: tuple[int, int], *, rate: Fraction, time_base: Fraction, threads: int
) -> "Iterator[VideoWriter]":
    """Yield the writer of a video file, which appears when the block ends without an error.

    Args:
        path: a file with a suffix in `VIDEO_SUFFIXES`.
        size: height and width of the images.
        rate: average number of images per second.
        time_base: unit of the times, in seconds.
        threads: CPU threads for encoding.

    Raises:
        BackendNotInstalledError: PyAV is not installed, or without x264.
        InputError: The suffix is none of `VIDEO_SUFFIXES`.
        OSError: The file cannot be written.
    """
    check_video_format(path)
    av = import_av()
    if _ENCODER not in av.codecs_available:
        raise BackendNotInstalledError(
            f"the FFmpeg {av.ffmpeg_version_info} of this PyAV has no encoder {_ENCODER}; expected "
            "that of PyAV's wheel. Install it: pip install --force-reinstall --only-binary av av."
        )
    with replacing(path) as temporary:
        try:
            with av.open(f"file:{temporary}", "w") as container:
                stream = container.add_stream(_ENCODER, rate=rate, options=_OPTIONS)
                stream.thread_count = threads
                writer = VideoWriter(container, stream, size, max(time_base, _FINEST))
                yield writer
                container.mux(stream.encode(None))
        except av.FFmpegError as error:  # the disk is full, among others
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
        self._padding = [(0, side % 2) for side in size] + [(0, 0)]
        stream.height, stream.width = (side + side % 2 for side in size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        # Without this, players guess the matrix from the size, and the colours are off.
        stream.color_primaries = stream.color_trc = stream.colorspace = _BT709
        stream.color_range = _LIMITED_RANGE
        self._reformat = self._av.video.reformatter.VideoReformatter().reformat
        self._last = -1

    def write(self, image: Image, time: Fraction) -> None:
        """Add (H, W, 3) uint8 RGB that is shown from ``time`` in seconds on."""
        if any(after for _, after in self._padding):
            image = np.pad(image, self._padding, mode="edge")
        rgb = self._av.VideoFrame.from_ndarray(image, "rgb24")
        frame = self._reformat(
            rgb, format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        self._last = max(round(time / self._time_base), self._last + 1)
        frame.pts, frame.time_base = self._last, self._time_base
        self._container.mux(self._stream.encode(frame))
