"""Spring's ``.flo5``: an HDF5 file whose dataset ``flow`` is (H, W, 2) floats, NaN where unknown.

Source: cv-stuttgart/flow_library, ``flow_IO.py``. HDF5 can refer to other files and load filters
from shared libraries: only a dataset stored in the file itself, with HDF5's own filters, is read.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import IO, Any

from engine.errors import BackendNotInstalledError, FlowFileError, one_line
from engine.flow.formats.checks import check_size
from engine.flow.formats.hdf5_file import CheckedFile
from engine.types import Array, Flow

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}  # H5Z_FILTER_* of H5Zpublic.h
_MAX_RATIO = 1040  # deflate expands to at most 1032 times its size (zlib's technical details)


def decode(stream: IO[bytes]) -> Array:
    """Return the flow, (H, W, 2) of any float type."""
    with _flow_dataset(stream) as dataset:
        size = dataset.dtype.itemsize * math.prod(dataset.shape)
        if size > _MAX_RATIO * dataset.id.get_storage_size():
            raise FlowFileError(
                f"stores {dataset.id.get_storage_size()} bytes for a flow of {size}; expected all "
                "of it: truncated. Fetch or write it again."
            )
        flow: Array = dataset[()]
    return flow


def encode(flow: Flow) -> bytes:
    """Return the bytes of a file, compressed as the benchmark compresses its own."""
    stream = io.BytesIO()
    with _h5py().File(stream, "w") as file:
        file.create_dataset("flow", data=flow, compression="gzip", compression_opts=5)
    return stream.getvalue()


def read_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    with _flow_dataset(stream) as dataset:
        height, width, _ = dataset.shape
        return height, width


@contextmanager
def _flow_dataset(stream: IO[bytes]) -> Iterator[Any]:
    """Open the dataset ``flow`` and check everything about it but its values."""
    h5py = _h5py()
    signature = stream.read(len(_SIGNATURE))
    if signature != _SIGNATURE:
        raise FlowFileError(f"starts with {signature!r}, expected {_SIGNATURE!r}: not HDF5.")
    try:
        with h5py.File(CheckedFile(stream), "r") as file:
            _check_is_stored_here(h5py, file)
            dataset = file["flow"]
            _check_layout(dataset)
            yield dataset
    except FlowFileError:
        raise
    except Exception as error:  # h5py raises almost anything on damaged files
        raise FlowFileError(
            f"is no readable HDF5 ({one_line(error)[:80]}). Fetch or write it again."
        ) from None


def _check_is_stored_here(h5py: ModuleType, file: Any) -> None:
    if "flow" not in file:
        raise FlowFileError(f"contains {sorted(file)!r:.80}, expected a dataset 'flow'.")
    link = file.get("flow", getlink=True)
    dataset = file["flow"] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise FlowFileError(
            "has a 'flow' that is a group or refers to another file; expected a dataset with the "
            "vectors. Write it again with h5py.File.create_dataset."
        )


def _check_layout(dataset: Any) -> None:
    shape, dtype = dataset.shape, dataset.dtype
    if dtype.kind != "f" or len(shape or ()) != 3 or shape[2] != 2 or min(shape) < 1:
        raise FlowFileError(f"contains {dtype} {shape}, expected float (H, W, 2).")
    check_size(shape[0], shape[1], 2 * dtype.itemsize)
    if dataset.chunks is not None:
        check_size(-(-math.prod(dataset.chunks) // 2), 1, 2 * dtype.itemsize)
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if unknown := [number for number in filters if number not in _FILTERS]:
        raise FlowFileError(
            f"is compressed with HDF5 filter {unknown[0]}; expected {', '.join(_FILTERS.values())} "
            "or none. Write it again with compression='gzip'."
        )


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise BackendNotInstalledError(
            f".flo5 files need h5py, which cannot be imported ({error}). "
            "Install it: pip install 'flownet-engine[spring]'."
        ) from error
    module: ModuleType = h5py
    return module
