"""A file as HDF5 may read it: what HDF5 2.0 believes unseen is checked first.

Source: HDF5 file format specification 3.0, sections II.A (superblock) and III.D (local heaps).
"""

import io
import struct
from typing import IO, Any

_SPECULATIVE = 1 << 16  # bytes that HDF5 may read beyond the end of a small file
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = struct.Struct("<4sB3xQQQ")  # signature, version, size of the data, first free, address
_END = 1  # of the list of free blocks
_BLOCK = struct.Struct("<QQ")  # of a free block: the next one, size


class CheckedFile(io.RawIOBase):
    """Reads a file for `h5py.File`; raises ``OSError`` at what would take all memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Take a file open for reading, which stays the caller's."""
        self._stream = stream
        self._length = stream.seek(0, io.SEEK_END)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As of the file."""
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        """As of the file; what is longer than the file is an error before memory is touched."""
        if len(buffer) > max(self._length, _SPECULATIVE):
            raise OSError(f"it states a length of {len(buffer)} bytes")
        content = self._stream.read(len(buffer))
        if content.startswith(_SIGNATURE):
            _check_superblock(content)
        elif content.startswith(b"HEAP") and len(content) >= _HEAP.size:
            self._check_heap(content)
        buffer[: len(content)] = content
        return len(content)

    def _check_heap(self, content: bytes) -> None:
        """Check that a local heap's list of free blocks has an end: HDF5 follows it for ever."""
        _, _, size, free, address = _HEAP.unpack_from(content)
        if address + size > self._length:
            raise OSError("a heap is truncated")
        place = self._stream.tell()
        self._stream.seek(address)
        data = self._stream.read(size)
        self._stream.seek(place)
        for _ in range(size // _BLOCK.size + 1):
            if free == _END:
                return
            if free + _BLOCK.size > size:
                break
            free, _ = _BLOCK.unpack_from(data, free)
        raise OSError("a heap's list of free blocks has no end")


def _check_superblock(content: bytes) -> None:
    """Check that addresses and lengths have 8 bytes, as h5py writes them."""
    first = 13 if content[8:9] in (b"\0", b"\1") else 9
    if len(content) > first + 1 and content[first : first + 2] != b"\x08\x08":
        raise OSError("its addresses and lengths do not have 8 bytes")
