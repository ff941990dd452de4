"""Videos: the container and the decoder, with the motion vectors of the codec."""

import functools

from engine.video.reader import VideoReader
from tests.fuzz.reader import Reader, scratch, written
from tests.support.videos import panning, write_clip

NAMES = ("video",)
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


def _read(data: bytes) -> None:
    with VideoReader(written(data, "clip"), motion=True, threads=1) as reader:
        for frame in reader:
            assert frame.image.shape == (reader.height, reader.width, 3)
        reader.faults()
