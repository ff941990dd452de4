"""Flow files: Middlebury ``.flo``, KITTI 16-bit ``.png``, ``.pfm``, ``.npy``, ``.npz``, ``.flo5``.

Each module decodes a stream to a flow, encodes a flow to bytes and reads the size from a header. A
flow is (H, W, 2) float32, pixels, x then y; encoders expect NaN where it is unknown. A decoder
never allocates what a header promises before it has seen the data.
"""

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.errors import FlowFileError, InputError, nearest
from engine.flow.formats import flo, flo5, kitti, numpy, pfm
from engine.flow.validity import UNKNOWN_THRESHOLD, Mask, as_float32, known, unmasked
from engine.system.bounded_reading import opened, path_of
from engine.system.files import write_atomically
from engine.types import Array, Flow


class _Format(NamedTuple):
    decode: Callable[[IO[bytes]], Array]
    encode: Callable[[Flow], bytes]
    read_size: Callable[[IO[bytes]], tuple[int, int]]
    start: bytes


_FORMATS = {
    ".flo": _Format(flo.decode, flo.encode, flo.read_size, b"PIEH"),
    ".pfm": _Format(pfm.decode, pfm.encode, pfm.read_size, b"PF"),
    ".npy": _Format(numpy.decode_npy, numpy.encode_npy, numpy.read_npy_size, b"\x93NUMPY"),
    ".npz": _Format(numpy.decode_npz, numpy.encode_npz, numpy.read_npz_size, b"PK"),
    ".png": _Format(kitti.decode, kitti.encode, kitti.read_size, b"\x89PNG"),
    ".flo5": _Format(flo5.decode, flo5.encode, flo5.read_size, b"\x89HDF"),
}
FLOW_SUFFIXES = tuple(_FORMATS)
_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp")
_EXPECTED = f"a flow file: {', '.join(_FORMATS)}. Check the name."
_UNKNOWN = "NaN, beyond 1e9 px, or 0 in the third channel of a KITTI .png"

_log = logging.getLogger("engine")


def read_flow(path: str | os.PathLike[str]) -> tuple[Flow, Mask]:
    """Read a flow file in the format of its suffix.

    Returns:
        A tuple ``(flow, valid)`` of (H, W, 2) float32 pixels, x then y, and (H, W) bool. Where
        ``valid`` is False, ``flow`` is NaN, so that a forgotten mask shows.

    Raises:
        FlowFileError: Unknown suffix, or the file is truncated, malformed or of another kind.
        BackendNotInstalledError: The file is ``.flo5``, and h5py is not installed.
        OSError: The file cannot be read.
    """
    path = path_of(path, _EXPECTED)
    _format_of(path)
    with opened(path, _EXPECTED) as stream:
        flow, valid = _decoded(stream, path)
    if not valid.any():
        _log.warning("%s: the flow is unknown at every pixel: %s.", path, _UNKNOWN)
    return flow, valid


def flow_from_bytes(data: bytes, name: str | os.PathLike[str]) -> tuple[Flow, Mask]:
    """Decode the content of a flow file, in the format of the suffix of ``name``; see `read_flow`.

    Args:
        data: the content.
        name: of the file, also for error messages. Without a suffix, the content tells the format.

    Raises:
        FlowFileError: Unknown format, or the content is truncated, malformed or of another kind.
        BackendNotInstalledError: It is ``.flo5``, and h5py is not installed.
    """
    return _decoded(io.BytesIO(data), Path(name))


def _decoded(stream: IO[bytes], name: Path) -> tuple[Flow, Mask]:
    start = stream.read(8)
    stream.seek(0)
    if not start:
        raise FlowFileError(f"{name}: is empty; expected a flow. Fetch or write it again.")
    recognised = next((key for key, kind in _FORMATS.items() if start.startswith(kind.start)), None)
    if not name.suffix and recognised is None:
        raise FlowFileError(
            f"{name}: starts with {start!r}; expected a flow file: {', '.join(_FORMATS)}."
        )
    decode = (_format_of(name) if name.suffix else _FORMATS[str(recognised)]).decode
    try:
        flow = as_float32(decode(stream))
    except FlowFileError as error:
        advice = ""
        if recognised is not None and name.suffix.lower() not in ("", recognised):
            advice = f" It looks like a {recognised} file: rename it."
        raise FlowFileError(f"{name}: {error}{advice}") from None
    valid = known(flow)
    if not valid.all():
        np.copyto(flow, np.nan, where=~valid[..., np.newaxis])  # faster than an index
    return flow, valid


def read_flow_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the (height, width) in the header of a flow file, without its data.

    Raises:
        FlowFileError: Unknown suffix, or the header is truncated or malformed.
        OSError: The file cannot be read.
    """
    path = path_of(path, _EXPECTED)
    read_size = _format_of(path).read_size
    try:
        with opened(path, _EXPECTED) as stream:
            return read_size(stream)
    except FlowFileError as error:
        raise FlowFileError(f"{path}: {error}") from None


def write_flow(
    path: str | os.PathLike[str], flow: npt.ArrayLike, valid: npt.ArrayLike | None = None
) -> None:
    """Write a flow file in the format of its suffix; the file appears whole or not at all.

    Args:
        path: ``.flo``, ``.png`` (KITTI: rounded to 1/64 px), ``.pfm``, ``.npy``, ``.npz`` or
            ``.flo5``.
        flow: (H, W, 2) floats, pixels, x then y.
        valid: (H, W) bool; by default every pixel that is a number and at most 1e9 px.

    Raises:
        FlowFileError: Unknown suffix.
        InputError: Wrong shape or type, masked values, a valid pixel without a finite flow, or a
            flow beyond the range of a KITTI png (-512 to 511.98 px).
    """
    # A sync would take longer than the inference; what a power failure damages is computed again.
    write_atomically(Path(path), bytes_from_flow(flow, path, valid), sync=False)


def bytes_from_flow(
    flow: npt.ArrayLike, name: str | os.PathLike[str], valid: npt.ArrayLike | None = None
) -> bytes:
    """Return the content of a flow file, in the format of the suffix of ``name``.

    Arguments and errors are those of `write_flow`.
    """
    encode = _format_of(Path(name)).encode
    return encode(_checked(flow, valid))


def check_flow_format(path: Path) -> None:
    """Raise what ``write_flow`` would for this suffix, before there is anything to write."""
    _format_of(path).encode(np.zeros((1, 1, 2), np.float32))


def _checked(flow: npt.ArrayLike, valid: npt.ArrayLike | None) -> Flow:
    """Return C-contiguous float32 with NaN wherever it is unknown; ``flow`` stays as it is."""
    given = unmasked(flow)
    if given.dtype.kind != "f" or given.ndim != 3 or given.shape[2] != 2 or given.size == 0:
        raise InputError(
            f"flow is {given.dtype} {given.shape}; expected floats (H, W, 2), x then y. "
            "Move the channels last and write one flow per file."
        )
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(given, np.float32)
    finite = known(array)
    mask = finite if valid is None else np.asarray(valid)
    if mask.dtype != np.bool_ or mask.shape != finite.shape:
        raise InputError(
            f"valid is {mask.dtype} {mask.shape}; expected bool {finite.shape}, one per pixel."
        )
    if np.any(mask & ~finite):
        raise InputError(
            f"flow is not finite or beyond {UNKNOWN_THRESHOLD:.0e} px at "
            f"{np.count_nonzero(mask & ~finite)} valid pixels; expected numbers there. "
            "Clear these pixels in valid."
        )
    return array if mask.all() else np.where(mask[..., np.newaxis], array, np.float32(np.nan))


def _format_of(path: Path) -> _Format:
    suffix = path.suffix.lower()
    if not suffix:
        raise FlowFileError(
            f"{path} has no suffix, which tells the format; expected one of {', '.join(_FORMATS)}."
        )
    if suffix in _PICTURES:
        raise FlowFileError(
            f"{path}: {suffix!r} is a format of pictures; expected one of flow: "
            f"{', '.join(_FORMATS)} (.png is KITTI's). For a picture in colours: flow infer "
            "--picture, or flow show."
        )
    if suffix not in _FORMATS:
        raise FlowFileError(
            f"{path}: unknown flow format {suffix!r}, expected one of {', '.join(_FORMATS)}."
            f"{nearest(suffix, _FORMATS)}"
        )
    return _FORMATS[suffix]
