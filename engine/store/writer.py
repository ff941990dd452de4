"""Writing a store, a flow at a time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import EngineError, InputError
from engine.flow.validity import as_float32, unmasked
from engine.store import arrays, blosc, prediction
from engine.store.info import NAME_BYTES, StoreInfo, is_name
from engine.store.levels import DEFAULT_STEP, levels_from_flow
from engine.store.reader import FlowStore
from engine.system.files import sync_to_disk, write_atomically
from engine.system.hidden_names import hidden_stem
from engine.types import Array

STORE_SUFFIX = ".zarr"


@contextmanager
def write_store(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    source: str,
    time_base: Fraction,
    bundle: str | None = None,
    network: str | None = None,
    step: float = DEFAULT_STEP,
    keep: int | None = None,
) -> "Iterator[StoreWriter]":
    """Yield the writer of a store, which is marked as complete when the block ends.

    Every flow is written at once. If the block raises, or the process is killed, the store holds
    all flows before, is not marked as complete, and may be continued.

    Args:
        path: folder to create; by custom it ends in ``.zarr``.
        size: height and width of the flows.
        source: see `StoreInfo`.
        time_base: see `StoreInfo`.
        bundle: see `StoreInfo`.
        network: see `StoreInfo`.
        step: see `StoreInfo`; a power of two from 1/4096 to 16.
        keep: continue the store at ``path`` after this number of its flows; None: there is none.

    Raises:
        BackendNotInstalledError: numcodecs is not installed.
        FlowFileError: The store to continue is malformed.
        InputError: ``path`` exists, or the store to continue has fewer flows or other attributes.
        OSError: It cannot be written.
    """
    info = StoreInfo.begun(source, time_base, bundle=bundle, network=network, step=step)
    writer = StoreWriter(Path(path), size, info)
    if keep is None:
        writer.create()
    else:
        writer.resume(FlowStore(path), keep)
    yield writer
    writer.finish()


def check_store_name(path: Path) -> None:
    """Check that a store may be written to, or replace what is at, ``path``.

    Raises:
        InputError: The suffix is not ``.zarr``, or there is something else than a store.
    """
    if path.suffix.lower() != STORE_SUFFIX:
        raise InputError(f"{path} does not end in {STORE_SUFFIX}; expected the name of a store.")
    if path.is_dir() and any(path.iterdir()):
        try:
            FlowStore(path)
        except EngineError as error:
            raise InputError(
                f"{path} exists and is no store, so it is never replaced: {error}"
            ) from None


def partial_store(path: Path) -> Path:
    """Return the hidden name beside ``path`` that a store has until `move_store` renames it."""
    return path.with_name(f"{hidden_stem(path)}.partial")


def move_store(source: Path, path: Path) -> None:
    """Rename a store; another store at ``path`` is deleted.

    Raises:
        InputError: See `check_store_name`.
        OSError: It cannot be renamed.
    """
    check_store_name(path)
    aside = path.with_name(f"{hidden_stem(path)}.old")
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was interrupted below
    if path.is_dir():
        # Moved first: what an interruption left of it at `path` would be no store, thus refused.
        aside.mkdir()
        os.replace(path, aside / path.name)
        shutil.rmtree(aside)
    os.replace(source, path)


class StoreWriter:
    """Adds flows to a store; see `write_store`."""

    def __init__(self, path: Path, size: tuple[int, int], info: StoreInfo) -> None:
        """Prepare a store of this size; nothing is written yet."""
        self._path, self._size, self._info = path, size, info
        self._time_base = Fraction(info.time_base)
        if not all(0 < side <= arrays.LARGEST_SIDE for side in size):
            raise InputError(
                f"flow is {size[0]}x{size[1]}; a store has sides of 1 to {arrays.LARGEST_SIDE}."
            )
        self._flow = arrays.flow_array(*size, info.step)
        self._pts = np.zeros(arrays.PTS.chunk, "<i8")
        self._names = np.zeros(arrays.NAME.chunk, np.uint8)
        self._count = 0

    def __len__(self) -> int:
        """Return the number of flows that are written."""
        return self._count

    def create(self) -> None:
        """Write the metadata of an empty store."""
        try:
            self._path.mkdir()
        except FileExistsError:
            raise InputError(f"{self._path} exists; expected a new name for the store.") from None
        for kind in (arrays.PTS, arrays.NAME, self._flow):
            (self._path / kind.name).mkdir()
        self._begin()

    def resume(self, store: FlowStore, keep: int) -> None:
        """Take over the first flows of a store and delete the others."""
        found = (store.height, store.width), replace(store.info, complete=False)
        if found != (self._size, self._info):
            raise InputError(
                f"{self._path} holds flows of {found[0]} with {found[1]}; expected {self._size} "
                f"with {self._info}. Write to another name."
            )
        if not 0 <= keep <= len(store):
            raise InputError(f"{self._path} has {len(store)} flows; {keep} cannot be kept.")
        first = keep // arrays.ROWS * arrays.ROWS
        self._pts[: keep - first] = store.pts[first:keep]
        for row, name in enumerate(store.names[first:keep]):
            self._names[row] = _name_row(name)
        self._count = keep
        self._begin()
        for index in range(keep, len(store) + 1):  # and one that was written, but not counted
            (self._path / self._flow.chunk_key(index)).unlink(missing_ok=True)
        for temporary in self._path.rglob(".*"):  # of a process that was killed
            temporary.unlink()

    def append(self, flow: npt.ArrayLike, *, name: str, times: tuple[Fraction, Fraction]) -> None:
        """Write a flow.

        Args:
            flow: (H, W, 2) floats, pixels, x then y; unknown where they are not finite.
            name: of a file with it, without suffix; at most 256 bytes.
            times: of its first and second frame, in seconds.

        Raises:
            InputError: Wrong shape or type, masked values, a value beyond 32767 steps, or the name
                is no relative path.
            OSError: It cannot be written.
        """
        given = unmasked(flow)
        if given.dtype.kind != "f" or given.shape != (*self._size, 2):
            raise InputError(
                f"flow is {given.dtype} {given.shape}; expected floats {(*self._size, 2)}, x then "
                "y, as all flows of a store are of one size."
            )
        if not is_name(name):
            raise InputError(f"the name {name!r:.80} is no relative path of 1 to 256 bytes.")
        try:
            levels = levels_from_flow(as_float32(given), self._info.step)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        frame = blosc.compress(prediction.bytes_from_levels(levels), 2)
        row = self._count % arrays.ROWS
        self._pts[row] = [round(time / self._time_base) for time in times]
        self._names[row] = _name_row(name)
        self._write(self._flow.chunk_key(self._count), frame)
        chunk = self._count // arrays.ROWS
        self._write(arrays.PTS.chunk_key(chunk), blosc.compress(self._pts, 8))
        self._write(arrays.NAME.chunk_key(chunk), blosc.compress(self._names, 1))
        self._count += 1
        if self._count % arrays.ROWS == 0:
            self._write_rows(self._count + arrays.ROWS)
        self._write_count()

    def finish(self) -> None:
        """Mark the store as complete, once it is on the disk."""
        self._write_rows(self._count)
        self._sync()
        self._write_info(replace(self._info, complete=True))

    def _sync(self) -> None:
        for path in self._path.rglob("*"):
            sync_to_disk(path)

    def _begin(self) -> None:
        self._write_info(self._info)
        self._write_count()
        self._write_rows((self._count // arrays.ROWS + 1) * arrays.ROWS)

    def _write_info(self, info: StoreInfo) -> None:
        group: dict[str, Any] = {"zarr_format": 3, "node_type": "group"}
        self._write(arrays.METADATA, arrays.dump_json({**group, "attributes": info.to_json()}))

    def _write_count(self) -> None:
        """Write the metadata of ``flow``, which tells how many flows are whole."""
        self._write_metadata(self._flow, self._count)

    def _write_rows(self, count: int) -> None:
        """Write the metadata of ``pts`` and ``name``, which may have rows ahead of the flows."""
        for kind in (arrays.PTS, arrays.NAME):
            self._write_metadata(kind, count)

    def _write_metadata(self, kind: arrays.ArrayKind, count: int) -> None:
        self._write(f"{kind.name}/{arrays.METADATA}", arrays.dump_json(kind.metadata(count)))

    def _write(self, key: str, data: bytes) -> None:
        # Several files for each flow: `finish` waits for the disk.
        write_atomically(self._path / key, data, sync=False)


def _name_row(name: str) -> Array:
    text = name.encode(errors="surrogateescape")
    return np.frombuffer(text.ljust(NAME_BYTES, b"\0"), np.uint8)
