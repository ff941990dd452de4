"""The kind of PNG that KITTI stores flow in: 16 bits, RGB, not interlaced.

OpenCV is an optional dependency and allocates the size that a header promises before it reads the
data: it only decodes what has been checked here. Format: https://www.w3.org/TR/png-3/.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from engine.errors import FlowFileError
from engine.flow.formats.checks import check_size
from engine.flow.formats.png_filters import unfiltered
from engine.system.bounded_reading import read_up_to

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A quarter of the time of zlib's default level, for a file that is 5 % larger.
_LEVEL = 4
_PIECE, _INFLATED = 1 << 16, 1 << 20  # bytes that are inflated at a time, and to how many
_LARGEST_METADATA = 1 << 20  # bytes of other chunks
_HEADER_BYTES = len(_SIGNATURE) + 25  # of the signature and the first chunk


def levels_from_png(stream: IO[bytes]) -> npt.NDArray[np.uint16]:
    """Return the (H, W, 3) uint16 values of a 16-bit RGB PNG.

    Raises:
        BackendNotInstalledError: It is large, and OpenCV is not installed.
        FlowFileError: Truncated, damaged, or another kind of PNG.
    """
    height, width = read_size(stream)
    stream.seek(0)
    data = read_up_to(stream, 8 * height * width + _LARGEST_METADATA)
    chunks = list(_chunks(data))
    compressed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    decoded = _decoded_by_opencv(_stored(chunks[0][1], compressed, height, width))
    if decoded is not None:
        return decoded
    rows = np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(height, 1 + 6 * width)
    if rows[:, 0].max() > 4:
        raise FlowFileError(f"has the PNG row filter {rows[:, 0].max()}, expected 0 to 4.")
    pixels = unfiltered(rows[:, 0], rows[:, 1:].reshape(height, width, 6))
    return pixels.view(">u2").astype(np.uint16)


def _stored(header: bytes, compressed: bytes, height: int, width: int) -> bytearray:
    """Return the PNG with its data uncompressed, and without chunks such as a transparent colour.

    The data are inflated in pieces and refused if they are not those of the size.
    """
    png = bytearray(_SIGNATURE + _chunk(b"IHDR", header))
    start = len(png)
    png += b"\0\0\0\0IDAT"
    expected, found = height * (1 + 6 * width), 0
    inflate, store = zlib.decompressobj(), zlib.compressobj(0)
    try:
        for position in range(0, len(compressed), _PIECE):
            rest, full = compressed[position : position + _PIECE], True
            while (rest or full) and found <= expected:
                content = inflate.decompress(rest, _INFLATED)
                png += store.compress(content)
                found, full = found + len(content), len(content) == _INFLATED
                rest = inflate.unconsumed_tail
    except zlib.error as error:
        raise FlowFileError(f"has damaged PNG data ({error}). Fetch or write it again.") from None
    if found != expected or not inflate.eof:
        raise FlowFileError(
            f"has PNG data for {found} bytes, expected {expected} for {width}x{height}. Fetch or "
            "write it again."
        )
    png += store.flush()
    png[start : start + 4] = (len(png) - start - 8).to_bytes(4, "big")
    png += zlib.crc32(memoryview(png)[start + 4 :]).to_bytes(4, "big")
    png += _chunk(b"IEND", b"")
    return png


def _decoded_by_opencv(png: bytearray) -> npt.NDArray[np.uint16] | None:
    """Undo the filters many times as fast as `unfiltered`; None if OpenCV cannot."""
    try:
        import cv2
    except ImportError:
        return None
    try:
        levels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # larger than OpenCV's limits
        return None
    return None if levels is None else levels[..., ::-1].view(np.uint16)  # BGR


def png_from_levels(levels: npt.NDArray[np.uint16]) -> bytes:
    """Return (H, W, 3) uint16 values as a PNG."""
    height, width, _ = levels.shape
    pixels = levels.astype(">u2", order="C").view(np.uint8)
    rows = np.ones((height, 1 + 6 * width), np.uint8)  # first byte: filter 1, minus the left pixel
    rows[:, 1:] = np.diff(pixels, axis=1, prepend=np.uint8(0)).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    data = zlib.compress(rows.data, _LEVEL)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def read_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header.

    Raises:
        FlowFileError: Truncated, damaged, or another kind of PNG.
    """
    return _size_from(*next(_chunks(stream.read(_HEADER_BYTES))))


def _size_from(kind: bytes, header: bytes) -> tuple[int, int]:
    if kind != b"IHDR" or len(header) != 13:
        raise FlowFileError("does not begin with a PNG header. Fetch or write it again.")
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", header)
    if (depth, colour, methods) != (16, 2, [0, 0, 0]) or min(width, height) < 1:
        raise FlowFileError(
            f"is a {width}x{height} PNG with {depth} bits, colour type {colour}, interlace "
            f"{methods[2]}; expected 16 bits, type 2 (RGB), 0 of a KITTI flow. "
            "Is it a picture of a flow?"
        )
    check_size(height, width)
    return height, width


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _chunks(data: bytes | bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of every chunk, checked."""
    if not data.startswith(_SIGNATURE):
        raise FlowFileError(
            f"starts with {bytes(data[:8])!r}, expected the PNG signature {_SIGNATURE!r}."
        )
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise FlowFileError("ends inside a PNG chunk: truncated. Fetch or write it again.")
        body = bytes(data[position + 4 : end - 4])
        if zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            raise FlowFileError(f"has a damaged PNG chunk {body[:4]!r}. Fetch or write it again.")
        kind, position = body[:4], end
        yield kind, body[4:]
    if position != len(data):
        raise FlowFileError(f"has {len(data) - position} trailing bytes after the PNG's end.")
