"""Portable float map ``.pfm`` with three channels, as in FlyingThings3D.

Format: https://www.pauldebevec.com/Research/HDR/PFM/. The third channel is ignored.
"""

import io
import re
from typing import IO

import numpy as np

from engine.errors import FlowFileError
from engine.flow.formats.checks import check_size, read_data
from engine.types import Array, Flow

_HEADER = re.compile(
    rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+(-?\d{1,9}(?:\.\d{0,9})?(?:[eE][-+]?\d{1,2})?)\s"
)
_LONGEST_HEADER = 256  # more than any writer puts between the numbers


def decode(stream: IO[bytes]) -> Array:
    """Return the flow, (H, W, 2) float32."""
    height, width, scale, start = _read_header(stream)
    size = 12 * width * height
    # One blank ends the header, and the first byte of data may look like another. Two end it where
    # lines end as on Windows and no byte is missing.
    length = stream.seek(0, io.SEEK_END) - start
    stream.seek(start - 1)
    if stream.read(2) == b"\r\n" and length == size + 1:
        start += 1
    stream.seek(start)
    byte_order = "<f4" if scale < 0 else ">f4"
    pixels = np.frombuffer(read_data(stream, size), byte_order).reshape(height, width, 3)
    return pixels[::-1, :, :2]  # rows are stored from the bottom up


def encode(flow: Flow) -> bytes:
    """Return the bytes of a file."""
    height, width, _ = flow.shape
    pixels = np.zeros((height, width, 3), "<f4")
    pixels[::-1, :, :2] = flow
    return f"PF\n{width} {height}\n-1.0\n".encode() + pixels.tobytes()


def read_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    return _read_header(stream)[:2]


def _read_header(stream: IO[bytes]) -> tuple[int, int, float, int]:
    """Return height, width, scale and where the header ends."""
    data = stream.read(_LONGEST_HEADER)
    header = _HEADER.match(data)
    if header is None:
        raise FlowFileError(
            f"starts with {data[:24]!r}, expected 'PF', width, height and scale. Fetch or write it "
            "again."
        )
    if header[1] != b"PF":
        raise FlowFileError("has 1 channel (a disparity?), expected 3: x, y and one to spare.")
    width, height, scale = int(header[2]), int(header[3]), float(header[4])
    if width < 1 or height < 1 or scale == 0:
        raise FlowFileError(
            f"has the header {header[0]!r}; expected positive sizes and a scale other than 0."
        )
    check_size(height, width, 12)
    return height, width, scale, header.end()
