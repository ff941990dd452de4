"""Windows bitmap: https://learn.microsoft.com/windows/win32/gdi/bitmap-storage."""

import struct

from engine.images.headers.malformed import truncated

_UNCOMPRESSED = (0, 3)  # BI_RGB, BI_BITFIELDS
_OS2_HEADER = 12


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width); uncompressed pixels have to be complete."""
    start, header = struct.unpack_from("<II", data, 10)
    if header == _OS2_HEADER:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: rows from the top down
    if compression in _UNCOMPRESSED and width > 0:
        row = (width * depth + 31) // 32 * 4
        if len(data) < start + row * height:
            raise truncated(len(data), start + row * height)
    return height, width
