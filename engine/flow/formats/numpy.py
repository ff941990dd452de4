"""``.npy``: (H, W, 2) floats. ``.npz``: the same as ``flow`` and optionally ``valid``, (H, W) bool.

VIPER's ``.npz`` (Richter et al., ICCV 2017) has ``u`` and ``v`` instead, (H, W) floats each; it is
read, not written.

Not ``np.load``, which allocates what a header promises before it reads the data.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from engine.errors import FlowFileError
from engine.flow.formats.checks import check_data_size
from engine.flow.validity import as_float32, known
from engine.types import Array, Flow

_PLANES = "u.npy", "v.npy"
_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def decode_npy(data: bytes) -> Array:
    """Return the flow, (H, W, 2) of any float type."""
    return _read_flow(io.BytesIO(data))


def encode_npy(flow: Flow) -> bytes:
    """Return the bytes of a file."""
    stream = io.BytesIO()
    np.save(stream, flow, allow_pickle=False)
    return stream.getvalue()


def read_npy_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    height, width, _ = _flow_header(stream)[0]
    return height, width


def decode_npz(data: bytes) -> Array:
    """Return the flow, (H, W, 2) float32."""
    with _archive(io.BytesIO(data)) as archive:
        if "flow.npy" not in archive.namelist():
            return np.stack([_read_plane(archive, name) for name in _PLANES], axis=-1)
        with archive.open("flow.npy") as member:
            flow = as_float32(_read_flow(member))
        if "valid.npy" not in archive.namelist():
            return flow
        with archive.open("valid.npy") as member:
            valid = _read_array(member, _header(member))
    if valid.dtype != np.bool_ or valid.shape != flow.shape[:2]:
        raise FlowFileError(f"has valid {valid.dtype} {valid.shape}, expected one bool per pixel.")
    flow[~valid] = np.nan
    return flow


def encode_npz(flow: Flow) -> bytes:
    """Return the bytes of a file, compressed."""
    stream = io.BytesIO()
    np.savez_compressed(stream, flow=flow, valid=known(flow))
    return stream.getvalue()


def read_npz_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header of ``flow``, or of ``u``."""
    with _archive(stream) as archive:
        if "flow.npy" in archive.namelist():
            with archive.open("flow.npy") as member:
                return read_npy_size(member)
        with archive.open(_PLANES[0]) as member:
            height, width = _plane_header(member)[0]
            return height, width


@contextmanager
def _archive(stream: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            if "flow.npy" not in names and not {*_PLANES} <= {*names}:
                raise FlowFileError(
                    f"contains {names}, expected 'flow' and optionally 'valid', or 'u' and 'v'."
                )
            yield archive
    except FlowFileError:
        raise
    except Exception as error:  # zipfile and zlib raise almost anything on damaged members
        raise FlowFileError(f"is no readable .npz ({error}). Fetch or write it again.") from None


def _read_plane(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as member:
        return _read_array(member, _plane_header(member))


def _plane_header(stream: IO[bytes]) -> _Header:
    header = _header(stream)
    shape, _, dtype = header
    if dtype.kind != "f" or len(shape) != 2:
        raise FlowFileError(f"contains {dtype} {shape}, expected float (H, W) for 'u' and 'v'.")
    return header


def _read_flow(stream: IO[bytes]) -> Array:
    return _read_array(stream, _flow_header(stream))


def _flow_header(stream: IO[bytes]) -> _Header:
    header = _header(stream)
    shape, _, dtype = header
    if dtype.kind != "f" or len(shape) != 3 or shape[2] != 2:
        raise FlowFileError(f"contains {dtype} {shape}, expected float (H, W, 2).")
    return header


def _header(stream: IO[bytes]) -> _Header:
    """Read shape, memory order (True: Fortran's) and type."""
    try:
        version = np.lib.format.read_magic(stream)
        is_first = version == (1, 0)
        read_header = (
            np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read_header(stream)
    except Exception as error:  # numpy parses the header as Python: damage raises almost anything
        raise FlowFileError(f"has no readable numpy header ({error}).") from None
    if dtype.kind not in "fb" or min(shape, default=1) < 1:
        raise FlowFileError(f"contains {dtype} {shape}, expected float (H, W, 2).")
    return shape, fortran_order, dtype


def _read_array(stream: IO[bytes], header: _Header) -> Array:
    shape, fortran_order, dtype = header
    size = dtype.itemsize * math.prod(shape)
    content = stream.read(min(size, 1 << 60) + 1)
    check_data_size(len(content), size)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
