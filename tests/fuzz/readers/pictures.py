"""Pictures, of all formats at once: the content tells the format, not the suffix."""

import struct
import zlib

import cv2
import numpy as np

from engine.images.files import image_from_bytes
from tests.fuzz.reader import Reader

NAMES = ("pictures", "pictures: PNG chunks")
_SUFFIXES = ("jpg", "bmp", "tiff", "webp", "ppm", "jp2")


def readers() -> list[Reader]:
    """See `Reader`."""
    return [
        # With levels, else most 16-bit pictures would be refused after they are decoded.
        Reader(NAMES[0], _seeds, lambda data: image_from_bytes(data, "input", levels=(0, 255))),
        Reader(NAMES[1], _pngs, lambda data: image_from_bytes(with_checksums(data), "input.png")),
    ]


def _images() -> list[np.ndarray]:
    """Grey, colour, alpha and 16 bits; JPEG 2000 needs 32 pixels."""
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    deep = colour.astype(np.uint16) * 257
    return [colour, colour[..., 0], np.dstack([colour, colour[..., :1]]), deep]


def _pngs() -> list[bytes]:
    return [cv2.imencode(".png", image)[1].tobytes() for image in _images()]


def _seeds() -> list[bytes]:
    others = [cv2.imencode(f".{suffix}", _images()[0])[1].tobytes() for suffix in _SUFFIXES]
    return _pngs() + others


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with right checksums, so that more than the first check is reached."""
    result, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 8 + struct.unpack(">I", data[position : position + 4])[0]
        if end + 4 > len(data):
            break
        result[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(result)
