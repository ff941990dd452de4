"""Blosc frames: bitshuffle and Zstandard, decompressed only into what the caller expects."""

import struct
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import BackendNotInstalledError, FlowFileError
from engine.types import Array

Bytes = npt.NDArray[np.uint8]

_HEADER = struct.Struct("<4B3I")  # versions, flags, type size; nbytes, block size, cbytes
_BITSHUFFLE = 2
# Zstandard's first level is the smallest on network flow too: what prediction leaves is noise.
_LEVEL = 1
_BLOCK = 1 << 17
# A block takes at least an offset of 4 bytes and a Zstandard frame of 12.
_MAX_RATIO = _BLOCK // 16


def configuration(type_size: int) -> dict[str, Any]:
    """Return the codec in the metadata of a Zarr array, for items of so many bytes."""
    return {
        "name": "blosc",
        "configuration": {
            "typesize": type_size,
            "cname": "zstd",
            "clevel": _LEVEL,
            "shuffle": "bitshuffle",
            "blocksize": _BLOCK,
        },
    }


def compress(data: Array, type_size: int) -> bytes:
    """Return the frame of a contiguous array.

    Raises:
        BackendNotInstalledError: numcodecs is not installed.
    """
    compressed = import_numcodecs().blosc.compress(
        data, b"zstd", _LEVEL, _BITSHUFFLE, _BLOCK, type_size
    )
    return bytes(compressed)


def largest_frame(size: int) -> int:
    """Return a bound of the length of a frame with ``size`` bytes that do not compress."""
    return size + size // 64 + 1024


def decompress(frame: bytes, sizes: tuple[int, ...]) -> Bytes:
    """Return the content of a frame, which has one of these sizes in bytes.

    Raises:
        BackendNotInstalledError: numcodecs is not installed.
        FlowFileError: The frame is malformed or has another size.
    """
    if len(frame) < _HEADER.size:
        raise FlowFileError(f"has {len(frame)} bytes, expected a Blosc header: truncated.")
    *_, size, _, compressed = _HEADER.unpack_from(frame)
    # Without these checks Blosc would read past the end, and a small file could fill the memory.
    if compressed != len(frame):
        raise FlowFileError(
            f"has {len(frame)} bytes, expected {compressed} from its header: truncated or damaged."
        )
    if size not in sizes or size > len(frame) * _MAX_RATIO:
        raise FlowFileError(
            f"expands {len(frame)} bytes to {size}; expected {' or '.join(map(str, sizes))}."
        )
    content = np.empty(size, np.uint8)
    try:
        import_numcodecs().blosc.decompress(frame, content)
    except (RuntimeError, ValueError) as error:
        raise FlowFileError(f"cannot be decompressed ({error}): damaged.") from None
    return content


@cache
def import_numcodecs() -> ModuleType:
    """Return numcodecs.

    Raises:
        BackendNotInstalledError: It is not installed.
    """
    try:
        import numcodecs
    except ImportError as error:
        raise BackendNotInstalledError(
            f".zarr stores need numcodecs, which cannot be imported ({error}). "
            "Install it: pip install 'flownet-engine[store]'."
        ) from error
    # Blosc's own threads do not survive a fork, and frames are read by several workers already.
    numcodecs.blosc.use_threads = False
    module: ModuleType = numcodecs
    return module
