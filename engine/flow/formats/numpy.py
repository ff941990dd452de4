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

from engine.errors import FlowFileError, one_line
from engine.flow.formats.checks import check_size, read_data
from engine.flow.validity import as_float32, known
from engine.types import Array, Flow

_PLANES = "u.npy", "v.npy"
_ADVICE = "Move the components last, and save one flow of floats in a file."
_COMPRESSIONS = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_LONGEST_HEADER = 10_000  # bytes, as for np.load
_LONGEST_END = 22 + 0xFFFF  # of a zip file: a record and a comment
_LARGEST_DIRECTORY = 1 << 16
_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def decode_npy(stream: IO[bytes]) -> Array:
    """Return the flow, (H, W, 2) of any float type."""
    return _read_flow(stream)


def encode_npy(flow: Flow) -> bytes:
    """Return the bytes of a file."""
    stream = io.BytesIO()
    np.save(stream, flow, allow_pickle=False)
    return stream.getvalue()


def read_npy_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    (height, width, _), _, dtype = _flow_header(stream)
    check_size(height, width, 2 * dtype.itemsize)
    return height, width


def decode_npz(stream: IO[bytes]) -> Array:
    """Return the flow, (H, W, 2) float32."""
    with _archive(stream) as archive:
        if "flow.npy" not in archive.namelist():
            u, v = (_read_plane(archive, name) for name in _PLANES)
            if u.shape != v.shape:
                raise FlowFileError(f"has u {u.shape} and v {v.shape}, expected one shape.")
            return np.stack((u, v), axis=-1)
        with archive.open("flow.npy") as member:
            flow = as_float32(_read_flow(member))
        if "valid.npy" not in archive.namelist():
            return flow
        with archive.open("valid.npy") as member:
            header = _header(member)
            shape, _, dtype = header
            if dtype.kind != "b" or shape != flow.shape[:2]:
                raise FlowFileError(f"has valid {dtype} {shape}, expected one bool per pixel.")
            valid = _read_array(member, header)
    np.copyto(flow, np.nan, where=~valid[..., np.newaxis])
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
            (height, width), _, dtype = _plane_header(member)
            check_size(height, width, 2 * dtype.itemsize)
            return height, width


@contextmanager
def _archive(stream: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    _check_directory(stream)
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            if "flow.npy" not in names and not {*_PLANES} <= {*names}:
                raise FlowFileError(
                    f"contains {names!r:.80}, expected 'flow' and optionally 'valid', or 'u' and "
                    "'v'."
                )
            if not {member.compress_type for member in archive.infolist()} <= {*_COMPRESSIONS}:
                raise FlowFileError(
                    "is compressed by another method than numpy's; expected it stored or deflated. "
                    "Write it again by numpy.savez_compressed."
                )
            yield archive
    except FlowFileError:
        raise
    except Exception as error:  # zipfile and zlib raise almost anything on damaged members
        reason = one_line(error)[:80]
        raise FlowFileError(f"is no readable .npz ({reason}). Fetch or write it again.") from None


def _check_directory(stream: IO[bytes]) -> None:
    """Refuse a long directory, which zipfile would read entry by entry."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, end - _LONGEST_END))
    tail = stream.read()
    record = tail.rfind(b"PK\x05\x06")  # "end of central directory record"
    size = int.from_bytes(tail[record + 12 : record + 16], "little")
    if record < 0 or len(tail) < record + 22:
        raise FlowFileError("is no readable .npz: its end is missing. Fetch or write it again.")
    if size > _LARGEST_DIRECTORY or b"PK\x06\x07" in tail[:record][-20:]:
        raise FlowFileError("contains too many arrays; expected 'flow' and 'valid' at most.")
    stream.seek(0)


def _read_plane(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as member:
        return _read_array(member, _plane_header(member))


def _plane_header(stream: IO[bytes]) -> _Header:
    header = _header(stream)
    shape, _, dtype = header
    if dtype.kind != "f" or len(shape) != 2:
        raise FlowFileError(
            f"contains {dtype} {shape!r:.80}, expected float (H, W) for 'u' and 'v'."
        )
    return header


def _read_flow(stream: IO[bytes]) -> Array:
    return _read_array(stream, _flow_header(stream))


def _flow_header(stream: IO[bytes]) -> _Header:
    header = _header(stream)
    shape, _, dtype = header
    if dtype.kind != "f" or len(shape) != 3 or shape[2] != 2:
        raise FlowFileError(f"contains {dtype} {shape!r:.80}, expected float (H, W, 2). {_ADVICE}")
    return header


def _header(stream: IO[bytes]) -> _Header:
    """Read shape, memory order (True: Fortran's) and type."""
    start = stream.read(12)
    length_bytes = 2 if start[6:7] == b"\1" else 4
    length = int.from_bytes(start[8 : 8 + length_bytes], "little")
    if length > _LONGEST_HEADER:
        raise FlowFileError(
            f"has a numpy header of {length} bytes; expected at most {_LONGEST_HEADER}: damaged."
        )
    rest = max(0, 8 + length_bytes + length - len(start))  # a damaged length may be too small
    header = io.BytesIO(start + stream.read(rest))
    try:
        version = np.lib.format.read_magic(header)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read_header(header)
    except Exception as error:  # numpy parses the header as Python: damage raises almost anything
        raise FlowFileError(f"has no readable numpy header ({one_line(error)[:80]}).") from None
    # A bool is an integer for numpy's check, and no size for its reshape.
    if dtype.kind not in "fb" or any(type(side) is not int or side < 1 for side in shape):
        raise FlowFileError(f"contains {dtype} {shape!r:.80}, expected float (H, W, 2). {_ADVICE}")
    return shape, fortran_order, dtype


def _read_array(stream: IO[bytes], header: _Header) -> Array:
    shape, fortran_order, dtype = header
    height, width = shape[:2]
    check_size(height, width, 2 * dtype.itemsize)
    content = read_data(stream, dtype.itemsize * math.prod(shape))
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
