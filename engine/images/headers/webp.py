"""WebP: RFC 9649."""

import struct

from engine.images.headers.malformed import MalformedError, truncated


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width) of the canvas; the file has to have the length that it states."""
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < 8 + length:
        raise truncated(len(data), 8 + length)
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        _, low_width, high_width, low_height, high_height = struct.unpack_from("<IHBHB", data, 20)
        return 1 + low_height + (high_height << 16), 1 + low_width + (high_width << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    raise MalformedError(f"contains {kind!r}; expected VP8, VP8L or VP8X. Fetch or write it again.")
