"""TIFF 6.0 and BigTIFF, the first picture of a file."""

import math
import struct
from typing import NamedTuple

from engine.images.headers.malformed import MalformedError, truncated
from engine.system.pixel_limit import max_pixels

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_PLACES = ((273, 279), (324, 325))  # offsets and lengths, of strips and of tiles
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_TAGS, _MOST_VALUES = 1 << 10, 1 << 20


class _Layout(NamedTuple):
    order: str
    first: int  # where the offset of the directory is
    offset_type: str
    count_type: str
    entry_bytes: int


def read_size(data: bytes | bytearray) -> tuple[int, int]:
    """Return (height, width); strips and tiles have to be in the file, and tiles no larger."""
    layout = _layout(data)
    tags = _directory(data, layout)
    sides = {name: _one(tags, name) for name in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT)}
    if sides[_TILE_WIDTH] * sides[_TILE_HEIGHT] > max_pixels():
        raise MalformedError(
            f"has tiles of {sides[_TILE_HEIGHT]}x{sides[_TILE_WIDTH]} pixels; expected at most "
            f"{max_pixels()} pixels. Write it again as .png."
        )
    for offsets, lengths in _PLACES:
        pairs = zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False)
        end = max(map(sum, pairs), default=0)
        if end > len(data):
            raise truncated(len(data), end)
    return sides[_HEIGHT], sides[_WIDTH]


def _layout(data: bytes | bytearray) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    return _Layout(order, 8, "Q", "Q", 20) if is_big else _Layout(order, 4, "I", "H", 12)


def _directory(data: bytes | bytearray, layout: _Layout) -> dict[int, tuple[int, ...]]:
    """Return the integers of each tag."""
    order = layout.order
    (position,) = struct.unpack_from(order + layout.offset_type, data, layout.first)
    (count,) = struct.unpack_from(order + layout.count_type, data, position)
    if count > _MOST_TAGS:
        raise MalformedError(f"has {count} tags; expected at most {_MOST_TAGS}: damaged.")
    position += struct.calcsize(f"={layout.count_type}")
    tags = {}
    for entry in range(position, position + count * layout.entry_bytes, layout.entry_bytes):
        tag, kind, values = struct.unpack_from(f"{order}HH{layout.offset_type}", data, entry)
        if kind in _TYPES and values <= _MOST_VALUES:
            tags[tag] = _values(data, layout, entry, f"{values}{_TYPES[kind]}")
    return tags


def _values(data: bytes | bytearray, layout: _Layout, entry: int, format: str) -> tuple[int, ...]:
    """Return the values of an entry, which contains them if they are few, else where they are."""
    room = struct.calcsize(f"={layout.offset_type}")
    place = entry + layout.entry_bytes - room
    if struct.calcsize(f"={format}") > room:
        (place,) = struct.unpack_from(layout.order + layout.offset_type, data, place)
    return struct.unpack_from(layout.order + format, data, place)


def _one(tags: dict[int, tuple[int, ...]], tag: int) -> int:
    return math.prod(tags.get(tag, (0,))[:1])
