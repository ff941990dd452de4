"""Stores: a zip file of one, and each file of one in a folder."""

import functools
import io
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from engine.store.reader import FlowStore
from engine.store.writer import write_store
from tests.fuzz.reader import Reader, scratch, written

NAMES = ("store: a file", "store: zip", "store: blosc")


def readers() -> list[Reader]:
    """See `Reader`."""
    return [
        Reader(NAMES[0], _files, _read_with_file, (IndexError,)),
        Reader(NAMES[1], lambda: [_zipped(kind) for kind in (0, 8)], _read_zip, (IndexError,)),
        Reader(NAMES[2], lambda: [_chunk().read_bytes()], _read_chunk),
    ]


@functools.cache
def _store() -> Path:
    path = scratch() / "store.zarr"
    rng = np.random.default_rng(0)
    with write_store(path, (16, 24), source="clip.mp4", time_base=Fraction(1, 25)) as store:
        for index in range(2):
            flow = np.tile(rng.normal(0, 9, 2), (16, 24, 1)).astype(np.float32)
            times = Fraction(index, 25), Fraction(index + 1, 25)
            store.append(flow, name=f"{index:06d}", times=times)
    return path


@functools.cache
def _contents() -> dict[str, bytes]:
    paths = sorted(path for path in _store().rglob("*") if path.is_file())
    return {str(path.relative_to(_store())): path.read_bytes() for path in paths}


def _files() -> list[bytes]:
    """The content of each file, behind its number."""
    return [bytes([number]) + data for number, data in enumerate(_contents().values())]


def _read_with_file(data: bytes) -> None:
    keys = list(_contents())
    key = keys[(data or b"\0")[0] % len(keys)]
    (_store() / key).write_bytes(data[1:])
    try:
        _read(_store())
    finally:
        (_store() / key).write_bytes(_contents()[key])


def _zipped(compression: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for key, data in _contents().items():
            archive.writestr(key, data)
    return stream.getvalue()


def _read_zip(data: bytes) -> None:
    _read(written(data, "store.zip"))


def _chunk() -> Path:
    return next(path for path in sorted((_store() / "flow").iterdir()) if path.name[:2] == "c.")


def _read_chunk(data: bytes) -> None:
    path = _chunk()
    key = str(path.relative_to(_store()))
    path.write_bytes(data)
    try:
        FlowStore(_store())[0]
    finally:
        path.write_bytes(_contents()[key])


def _read(path: Path) -> None:
    store = FlowStore(path)
    flow = store[0]
    assert flow.shape == (store.height, store.width, 2)
    assert store.times.shape[1] == 2
    assert all(isinstance(name, str) for name in store.names)
