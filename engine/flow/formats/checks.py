"""Checks that several formats share."""

from typing import IO

from engine.errors import FlowFileError
from engine.system.bounded_reading import read_up_to
from engine.system.pixel_limit import excess


def check_size(height: int, width: int, pixel_bytes: int = 8) -> None:
    """Raise ``FlowFileError`` if a header states more pixels than are read."""
    if fault := excess(height, width, pixel_bytes):
        raise FlowFileError(fault)


def read_data(stream: IO[bytes], size: int) -> bytearray:
    """Return the rest of a stream.

    Raises:
        FlowFileError: It does not have the size that the header states, in bytes.
    """
    content = read_up_to(stream, size + 1)
    if len(content) < size:
        raise FlowFileError(
            f"contains {len(content)} bytes of data, expected {size} from its header: truncated. "
            "Fetch or write it again."
        )
    if len(content) > size:
        raise FlowFileError(
            f"contains more than the {size} bytes of data in its header: trailing bytes. Fetch or "
            "write it again."
        )
    return content
