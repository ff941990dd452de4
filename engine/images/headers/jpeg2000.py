"""JPEG 2000: ITU-T T.800, annex A; a code stream alone or in a .jp2 file."""

import struct

from engine.images.headers.malformed import MalformedError

_MOST_COMPONENTS, _MOST_TILES = 4, 1 << 12


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width) of the code stream, which is all that is decoded."""
    start = _code_stream(data)
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise MalformedError("has a damaged code stream. Fetch or write it again.")
    fields = struct.unpack_from(">8IH", data, start + 8)
    right, bottom, left, top, tile_width, tile_height, _, _, components = fields
    width, height = max(0, right - left), max(0, bottom - top)
    tiles = -(-width // max(1, tile_width)) * -(-height // max(1, tile_height))
    if components > _MOST_COMPONENTS or tiles > _MOST_TILES:
        raise MalformedError(
            f"has {components} components and {tiles} tiles; expected at most {_MOST_COMPONENTS} "
            f"and {_MOST_TILES}. Write it again as .png."
        )
    return height, width


def _code_stream(data: bytes | bytearray) -> int:
    """Return where the code stream begins: after the boxes of other kinds (annex I)."""
    position, kind = 0, b""
    while kind != b"jp2c" and not data.startswith(b"\xff\x4f", position):
        start = position
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position)
            position += 8
        if kind != b"jp2c":
            position = min(max(position, start + length), len(data))
    return position
