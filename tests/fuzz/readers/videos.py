"""Videos: the container and the decoder, with the motion vectors of the codec."""

import functools
import os
from unittest import mock

from engine.system.pixel_limit import VARIABLE
from engine.video.reader import VideoReader
from tests.fuzz.reader import Reader, scratch, written
from tests.support.videos import panning, write_clip

NAMES = ("video",)
# A few bytes of a GIF make a canvas of any size, and reading takes 20 bytes a pixel: for the
# default limit that is more than what counts as a fault.
_LIMIT = {VARIABLE: str(1 << 23)}
_KINDS = {".mp4": "libx264", ".avi": "mjpeg", ".gif": "gif"}


def readers() -> list[Reader]:
    """See `Reader`."""
    return [Reader(NAMES[0], _seeds, _read)]


@functools.cache
def _seeds() -> list[bytes]:
    images = panning(4, 32, 48)
    pixels = {"libx264": "yuv420p", "mjpeg": "yuvj420p", "gif": "rgb8"}
    return [
        write_clip(
            scratch() / f"clip{suffix}", images, codec=codec, pixels=pixels[codec]
        ).read_bytes()
        for suffix, codec in _KINDS.items()
    ]


@mock.patch.dict(os.environ, _LIMIT)
def _read(data: bytes) -> None:
    with VideoReader(written(data, "clip"), motion=True, threads=1) as reader:
        for frame in reader:
            assert frame.image.shape == (reader.height, reader.width, 3)
        reader.faults()
