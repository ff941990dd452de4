"""JPEG: ITU-T T.81, annex B."""

import struct

from engine.images.headers.malformed import MalformedError

_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_START_OF_SCAN, _END = 0xDA, b"\xff\xd9"
# libjpeg writes 10. Each scan goes over all of the picture, even if it has a few bytes only.
_MOST_SCANS = 100


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width); the picture has to have its end, and not too many scans."""
    position, size = 2, None
    while (marker := _marker(data, position)) != _START_OF_SCAN:
        if marker in _START_OF_FRAME:
            size = struct.unpack_from(">HH", data, position + 5)
        if marker in _ALONE or marker == 0xFF:  # 0xFF fills up
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    if size is None:
        raise MalformedError("has no frame header before its data: damaged. Fetch it again.")
    end = data.find(_END, position)  # in the data, 0xFF is followed by other bytes
    if end < 0:
        raise MalformedError("ends inside its data: truncated. Fetch or write it again.")
    scans = data.count(b"\xff\xda", position, end)
    if scans > _MOST_SCANS:
        raise MalformedError(f"has {scans} scans; expected at most {_MOST_SCANS}. Write it again.")
    return size


def _marker(data: bytes | bytearray, position: int) -> int:
    if data[position] != 0xFF:
        raise MalformedError("has a damaged header. Fetch or write it again.")
    return data[position + 1]
