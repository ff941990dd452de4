"""Flow files: Middlebury ``.flo``, KITTI 16-bit ``.png``, ``.pfm``, ``.npy`` and ``.npz``.

In here a flow is one array: (H, W, 2) float32, pixels, x then y, NaN where it is unknown. A format
is a decoder (bytes to flow) and an encoder (flow to bytes); ``read_flow`` and ``write_flow`` hold
what they share. A decoder never allocates what a header promises before it has seen the data.
"""

import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.errors import FlowFileError, InputError, nearest
from engine.flow.formats.png16 import levels_from_png, png_from_levels
from engine.system.files import write_atomically

Array = npt.NDArray[Any]
Flow = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Middlebury's flowIO.h: what is unknown is written as 1e10 and read as anything beyond 1e9.
UNKNOWN_THRESHOLD = 1e9
_FLO_UNKNOWN = 1e10
_FLO_MAGIC = struct.pack("<f", 202021.25)  # reads "PIEH"


def read_flow(path: str | os.PathLike[str]) -> tuple[Flow, Mask]:
    """Read a flow file; its suffix says the format.

    ``.flo``: https://vision.middlebury.edu/flow/code/flow-code/README.txt. ``.png``: KITTI 2015
    devkit readme, 1/64 px in 16 bits. ``.pfm``: three channels as in FlyingThings3D, the third is
    dropped. ``.npy``: (H, W, 2) floats. ``.npz``: the same as ``flow``, and optionally ``valid``,
    (H, W) bool.

    Returns:
        ``(flow, valid)``: (H, W, 2) float32 pixels, x then y, and (H, W) bool. Where ``valid`` is
        False, ``flow`` is NaN, so that a forgotten mask shows.

    Raises:
        FlowFileError: Unknown suffix, or the file is truncated, malformed or of another kind.
        OSError: The file cannot be read.
    """
    path = Path(path)
    decode = _format_of(path).decode
    try:
        decoded = decode(path.read_bytes())
    except FlowFileError as error:
        raise FlowFileError(f"{path}: {error}") from None
    flow = _float32(decoded)
    valid = known(flow)
    flow[~valid] = np.nan
    return flow, valid


def write_flow(
    path: str | os.PathLike[str], flow: npt.ArrayLike, valid: npt.ArrayLike | None = None
) -> None:
    """Write a flow file in the format of its suffix; the file appears whole or not at all.

    Args:
        path: ``.flo``, ``.png`` (KITTI: rounded to 1/64 px), ``.pfm``, ``.npy`` or ``.npz``.
        flow: (H, W, 2) floats, pixels, x then y.
        valid: (H, W) bool; by default every pixel that is a number and at most 1e9 px.

    Raises:
        FlowFileError: Unknown suffix.
        InputError: Wrong shape or type, masked values, a valid pixel without a finite flow, or a
            flow beyond the range of a KITTI png (-512 to 511.98 px).
    """
    path = Path(path)
    encode = _format_of(path).encode
    write_atomically(path, encode(_checked(flow, valid)))


def known(flow: Flow) -> Mask:
    """Return (H, W) bool: where ``flow`` (H, W, 2) is a number and at most 1e9 px on both axes."""
    return np.asarray((np.abs(flow) <= UNKNOWN_THRESHOLD).all(axis=-1))


def _float32(array: Array) -> Flow:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is unknown
        return np.array(array, np.float32, order="C")


def _checked(flow: npt.ArrayLike, valid: npt.ArrayLike | None) -> Flow:
    """Return a copy of ``flow`` with NaN wherever it is unknown."""
    given = unmasked(flow)
    if given.dtype.kind != "f" or given.ndim != 3 or given.shape[2] != 2 or given.size == 0:
        raise InputError(
            f"flow is {given.dtype} {given.shape}; expected floats (H, W, 2), x then y. "
            "Move the channels last and write one flow per file."
        )
    array = _float32(given)
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
    array[~mask] = np.nan
    return array


def unmasked(flow: npt.ArrayLike) -> Array:
    """Return ``flow`` as an array, or raise ``InputError`` if numpy's mask hides some of it."""
    if np.ma.is_masked(flow):
        raise InputError(
            "flow has masked values, which an array of floats does not keep; expected NaN where it "
            "is unknown. Fill it: flow.filled(numpy.nan)."
        )
    return np.asarray(flow)


def _expect_size(found: int, expected: int) -> None:
    if found != expected:
        raise FlowFileError(
            f"holds {found} bytes of data, expected {expected} from its header: "
            f"{'truncated' if found < expected else 'trailing bytes'}. Fetch or write it again."
        )


def _flow_from_flo(data: bytes) -> Array:
    if data[:4] != _FLO_MAGIC:
        raise FlowFileError(f"starts with {data[:4]!r}, expected {_FLO_MAGIC!r}: not a .flo file.")
    if len(data) < 12:
        raise FlowFileError(f"ends after {len(data)} bytes, inside its 12-byte header: truncated.")
    width, height = struct.unpack_from("<ii", data, 4)
    if width < 1 or height < 1:
        raise FlowFileError(f"says width {width}, height {height}; expected positive sizes.")
    _expect_size(len(data) - 12, 8 * width * height)
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)


def _flo_from_flow(flow: Flow) -> bytes:
    height, width, _ = flow.shape
    values = np.where(np.isnan(flow), _FLO_UNKNOWN, flow).astype("<f4")
    return _FLO_MAGIC + struct.pack("<ii", width, height) + values.tobytes()


_PFM_HEADER = re.compile(
    rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+(-?\d{1,9}(?:\.\d{0,9})?(?:[eE][-+]?\d{1,2})?)\s"
)


def _flow_from_pfm(data: bytes) -> Array:
    header = _PFM_HEADER.match(data)
    if header is None:
        raise FlowFileError(f"starts with {data[:24]!r}, expected 'PF', width, height and scale.")
    if header[1] != b"PF":
        raise FlowFileError("has 1 channel (a disparity?), expected 3: x, y and one to spare.")
    width, height, scale = int(header[2]), int(header[3]), float(header[4])
    if width < 1 or height < 1 or scale == 0:
        raise FlowFileError(f"says {header[0]!r}, expected positive sizes and a scale but 0.")
    start, size = header.end(), 12 * width * height
    # Exactly one blank ends the header, as the byte after it is data and may look like one; two if
    # they end a line as Windows does and no byte is missing then.
    if data[start - 1 : start + 1] == b"\r\n" and len(data) - start == size + 1:
        start += 1
    _expect_size(len(data) - start, size)
    byte_order = "<f4" if scale < 0 else ">f4"
    pixels = np.frombuffer(data, byte_order, offset=start).reshape(height, width, 3)
    return pixels[::-1, :, :2]  # rows are stored from the bottom up


def _pfm_from_flow(flow: Flow) -> bytes:
    height, width, _ = flow.shape
    pixels = np.zeros((height, width, 3), "<f4")
    pixels[::-1, :, :2] = flow
    return f"PF\n{width} {height}\n-1.0\n".encode() + pixels.tobytes()


def _flow_from_png(data: bytes) -> Array:
    levels = levels_from_png(data)
    flow = (levels[..., :2].astype(np.float32) - 32768) / 64
    flow[levels[..., 2] == 0] = np.nan
    return flow


def _png_from_flow(flow: Flow) -> bytes:
    valid = known(flow)
    levels = np.rint(np.where(valid[..., None], flow, -512).astype(np.float64) * 64) + 32768
    if levels.min() < 0 or levels.max() > 65535:
        raise InputError(
            f"flow is {np.nanmin(flow):.2f} to {np.nanmax(flow):.2f} px; a KITTI png holds "
            "-512 to 511.98 px. Write .flo, or clear these pixels in valid."
        )
    return png_from_levels(np.dstack([levels, valid]).astype(np.uint16))


def _array_from_npy(stream: IO[bytes]) -> Array:
    # Not np.load: it allocates what the header says before it looks at the data.
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
        raise FlowFileError(f"holds {dtype} {shape}, expected float (H, W, 2).")
    size = dtype.itemsize * math.prod(shape)
    content = stream.read(min(size, 1 << 60) + 1)
    _expect_size(len(content), size)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _flow_from_npy(stream: IO[bytes]) -> Array:
    array = _array_from_npy(stream)
    if array.dtype.kind != "f" or array.ndim != 3 or array.shape[2] != 2:
        raise FlowFileError(f"holds {array.dtype} {array.shape}, expected float (H, W, 2).")
    return array


def _npy_from_flow(flow: Flow) -> bytes:
    stream = io.BytesIO()
    np.save(stream, flow, allow_pickle=False)
    return stream.getvalue()


def _flow_from_npz(data: bytes) -> Array:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if "flow.npy" not in names:
                raise FlowFileError(f"holds {names}, expected 'flow' and optionally 'valid'.")
            with archive.open("flow.npy") as member:
                flow = _float32(_flow_from_npy(member))
            if "valid.npy" not in names:
                return flow
            with archive.open("valid.npy") as member:
                valid = _array_from_npy(member)
    except FlowFileError:
        raise
    except Exception as error:  # as above: zipfile and zlib on damaged or encrypted members
        raise FlowFileError(f"is no readable .npz ({error}). Fetch or write it again.") from None
    if valid.dtype != np.bool_ or valid.shape != flow.shape[:2]:
        raise FlowFileError(f"has valid {valid.dtype} {valid.shape}, expected one bool per pixel.")
    flow[~valid] = np.nan
    return flow


def _npz_from_flow(flow: Flow) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, flow=flow, valid=known(flow))
    return stream.getvalue()


class _Format(NamedTuple):
    decode: Callable[[bytes], Array]
    encode: Callable[[Flow], bytes]


_FORMATS = {
    ".flo": _Format(_flow_from_flo, _flo_from_flow),
    ".png": _Format(_flow_from_png, _png_from_flow),
    ".pfm": _Format(_flow_from_pfm, _pfm_from_flow),
    ".npy": _Format(lambda data: _flow_from_npy(io.BytesIO(data)), _npy_from_flow),
    ".npz": _Format(_flow_from_npz, _npz_from_flow),
}


def check_flow_format(path: Path) -> None:
    """Raise what ``write_flow`` would for this suffix, before there is anything to write."""
    _format_of(path)


def _format_of(path: Path) -> _Format:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise FlowFileError(
            f"{path}: unknown flow format {suffix!r}, expected one of {', '.join(_FORMATS)}."
            f"{nearest(suffix, _FORMATS)}"
        )
    return _FORMATS[suffix]
