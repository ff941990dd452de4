"""Netpbm's PBM, PGM and PPM (https://netpbm.sourceforge.net/doc/ppm.html), and PFM."""

import re

from engine.images.headers.malformed import MalformedError, truncated

_BLANK = rb"(?:\s|#[^\r\n]*[\r\n])+"
# Kind, width, height and, but for bitmaps, the largest value or PFM's scale.
_HEADER = re.compile(
    rb"P([1-6Ff])" + _BLANK + rb"(\d{1,9})" + _BLANK + rb"(\d{1,9})(?:" + _BLANK + rb"(\S{1,20}))?"
)
_LONGEST_HEADER = 1 << 16  # with comments


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width); the pixels have to be complete."""
    header = _HEADER.match(data, 0, _LONGEST_HEADER)
    if header is None:
        raise MalformedError(
            f"starts with {bytes(data[:24])!r}; expected width and height after P{chr(data[1])}. "
            "Fetch or write it again."
        )
    width, height = int(header[2]), int(header[3])
    kind, largest = header[1], header[4] or b""
    wide = 2 if largest.isdigit() and int(largest) > 255 else 1
    needed = {
        b"4": -(-width // 8) * height,
        b"5": wide * width * height,
        b"6": 3 * wide * width * height,
        b"f": 4 * width * height,
        b"F": 12 * width * height,
    }.get(kind, width * height)  # text: at least a digit for each pixel
    if len(data) < header.end(3) + needed:
        raise truncated(len(data), header.end(3) + needed)
    return height, width
