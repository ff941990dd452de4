"""Middlebury ``.flo``: https://vision.middlebury.edu/flow/code/flow-code/README.txt."""

import io
import struct
from typing import IO

import numpy as np

from engine.errors import FlowFileError
from engine.flow.formats.checks import check_size, read_data
from engine.system.pixel_limit import excess
from engine.types import Array, Flow

_MAGIC = struct.pack("<f", 202021.25)  # reads "PIEH"
_HEADER_BYTES = 12
_UNKNOWN = 1e10  # what flowIO.h writes
_SWAP = (
    "expected little-endian. Write it as b'PIEH' + "
    "numpy.frombuffer(data[4:], '>u4').astype('<u4').tobytes()."
)


def decode(stream: IO[bytes]) -> Array:
    """Return the flow, (H, W, 2) float32; unknown values are numbers beyond 1e9."""
    height, width = read_size(stream)
    end = stream.seek(0, io.SEEK_END)
    if end - _HEADER_BYTES != 8 * width * height:
        _check_byte_order(stream)
    stream.seek(_HEADER_BYTES)
    return np.frombuffer(read_data(stream, 8 * width * height), "<f4").reshape(height, width, 2)


def _check_byte_order(stream: IO[bytes]) -> None:
    """Refuse a file whose size fits its header only if that is read as big-endian."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(len(_MAGIC))
    width, height = struct.unpack(">ii", stream.read(8))
    if min(width, height) > 0 and end - _HEADER_BYTES == 8 * width * height:
        raise FlowFileError(f"is a {width}x{height} flow in big-endian byte order; {_SWAP}")


def encode(flow: Flow) -> bytes:
    """Return the bytes of a file."""
    height, width, _ = flow.shape
    unknown = np.isnan(flow)
    values = np.where(unknown, np.float32(_UNKNOWN), flow) if unknown.any() else flow
    values = np.ascontiguousarray(values, "<f4")
    return b"".join((_MAGIC, struct.pack("<ii", width, height), values.data))


def read_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    header = stream.read(_HEADER_BYTES)
    if header[:4] == _MAGIC[::-1]:
        raise FlowFileError(f"is in big-endian byte order (starts with {header[:4]!r}); {_SWAP}")
    if header[:4] != _MAGIC:
        raise FlowFileError(f"starts with {header[:4]!r}, expected {_MAGIC!r}: not a .flo file.")
    if len(header) < _HEADER_BYTES:
        raise FlowFileError(
            f"ends after {len(header)} bytes, inside its 12-byte header: truncated."
        )
    width, height = struct.unpack_from("<ii", header, 4)
    if width < 1 or height < 1:
        _check_byte_order(stream)
        raise FlowFileError(
            f"has width {width}, height {height} in its header; expected positive sizes: "
            "damaged. Fetch or write it again."
        )
    if excess(height, width):
        _check_byte_order(stream)
    check_size(height, width)
    return height, width
