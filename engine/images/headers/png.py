"""PNG: https://www.w3.org/TR/png-3/."""

import struct

from engine.images.headers.malformed import MalformedError, truncated

_MOST_CHUNKS = 1 << 18  # a picture of the largest size in chunks of 1 KiB


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width); the chunks have to be complete."""
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    if kind != b"IHDR":
        raise MalformedError("does not begin with IHDR: damaged. Fetch or write it again.")
    position, kind = 8, b""
    for _ in range(_MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if position > len(data):
            raise truncated(len(data), position)
        if kind == b"IEND":
            return height, width
    raise MalformedError(f"has more than {_MOST_CHUNKS} chunks; expected fewer. Write it again.")
