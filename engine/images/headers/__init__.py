"""Headers of picture files: kind, size and completeness, checked before a decoder sees the file.

A decoder allocates the size that a header promises, and tries every format it knows. Here the first
bytes decide whether the format is one that is read, the size is bounded, and what the header says
about the rest is compared with the file.
"""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from engine.errors import InputError
from engine.images.headers import bmp, jpeg, jpeg2000, png, pnm, tiff, webp
from engine.images.headers.foreign import describe
from engine.images.headers.malformed import MalformedError
from engine.system.pixel_limit import VARIABLE, excess, max_pixels

START_BYTES = 32  # enough to tell the kind
# Per pixel: RGBA of 16 bits. Text about the picture takes some more.
_LARGEST_PIXEL, _LARGEST_METADATA = 8, 1 << 24


class _Kind(NamedTuple):
    name: str
    start: re.Pattern[bytes]
    read_size: Callable[[bytes | bytearray], tuple[int, int]]


_KINDS = (
    _Kind("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), png.read_size),
    _Kind("JPEG", re.compile(rb"\xff\xd8\xff"), jpeg.read_size),
    _Kind("BMP", re.compile(rb"BM"), bmp.read_size),
    _Kind("PNM", re.compile(rb"P([1-6]|[Ff])\s"), pnm.read_size),
    _Kind("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.read_size),
    _Kind("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL), webp.read_size),
    _Kind("JPEG 2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
          jpeg2000.read_size),
)  # fmt: skip
_EXPECTED = f"expected a picture: {', '.join(kind.name for kind in _KINDS)}"


def largest_file() -> int:
    """Return the number of bytes of the largest picture file that is read."""
    return _LARGEST_PIXEL * max_pixels() + _LARGEST_METADATA


def check_start(start: bytes | bytearray, name: str) -> None:
    """Raise ``InputError`` unless a file begins as a picture; see `check_header`."""
    _kind_of(start, name)


def check_header(data: bytes | bytearray, name: str) -> None:
    """Check the header of a picture file.

    Args:
        data: the content of the file.
        name: of the file, for error messages.

    Raises:
        InputError: It is of another kind, truncated, malformed, or larger than `max_pixels`.
    """
    kind = _kind_of(data, name)
    if len(data) > largest_file():
        raise InputError(
            f"{name} has more than {largest_file()} bytes; expected fewer. If you trust the file, "
            f"set {VARIABLE}={2 * max_pixels()}."
        )
    try:
        height, width = kind.read_size(data)
    except (struct.error, IndexError):
        raise InputError(
            f"{name} is a {kind.name} file that ends inside its header: truncated. Fetch or write "
            "it again."
        ) from None
    except MalformedError as error:
        raise InputError(f"{name} is a {kind.name} file that {error}") from None
    if height < 1 or width < 1:
        raise InputError(
            f"{name} is a {kind.name} file of {height}x{width} pixels; expected at least one. "
            "Fetch or write it again."
        )
    if fault := excess(height, width):
        raise InputError(f"{name} {fault}")


def _kind_of(data: bytes | bytearray, name: str) -> _Kind:
    if not data:
        raise InputError(f"{name} is empty; {_EXPECTED}. Fetch or write it again.")
    for kind in _KINDS:
        if kind.start.match(data):
            return kind
    found, advice = describe(data[:START_BYTES])
    raise InputError(f"{name} {found}; {_EXPECTED}. {advice}")
