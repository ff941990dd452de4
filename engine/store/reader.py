"""Reading a store: any flow at any time, from any number of processes."""

import operator
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from engine.errors import FlowFileError
from engine.store import arrays, blosc, prediction
from engine.store.files import open_files
from engine.store.info import is_name, parse_info, parse_time_base
from engine.store.levels import flow_from_levels
from engine.types import Array, Flow

T = TypeVar("T")

_METADATA_LIMIT = 1 << 20  # bytes


class FlowStore:
    """The flows of a store, read when they are asked for.

    ``store[i]`` is a flow, (H, W, 2) float32 pixels, x then y, NaN where it is unknown;
    ``store[-1]`` the last one; ``store[2:6]`` is (4, H, W, 2). A store may be pickled and shared by
    threads and forked processes, so it is a data set for a PyTorch ``DataLoader``.

    Attributes:
        path: of the store.
        info: its attributes, see `StoreInfo`.
        height: of the flows, in pixels.
        width: of the flows, in pixels.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the metadata of a store: a folder, or a zip file of its content.

        Raises:
            FlowFileError: It is no store, or a malformed one.
            InputError: It does not exist.
            OSError: It cannot be read.
        """
        self.path = Path(path)
        self._files = open_files(self.path)
        self.info = self._parsed("", lambda group: parse_info(group.get("attributes")))
        self.height, self.width = self._parsed("flow/", arrays.parse_size)
        self._flow = arrays.flow_array(self.height, self.width, self.info.step)
        counts = [
            self._parsed(f"{kind.name}/", kind.parse_count)
            for kind in (self._flow, arrays.PTS, arrays.NAME)
        ]
        self._count = min(counts)  # a writer that was killed leaves ``flow`` the shortest

    def __repr__(self) -> str:
        """Return path, number and size of the flows."""
        unfinished = "" if self.info.complete else ", incomplete"
        return (
            f"FlowStore({str(self.path)!r}: {len(self)} flows of {self.height}x{self.width}, "
            f"error at most {self.info.max_error} px{unfinished})"
        )

    def __len__(self) -> int:
        """Return the number of whole flows."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> Flow: ...

    @overload
    def __getitem__(self, index: slice) -> Flow: ...

    def __getitem__(self, index: int | slice) -> Flow:
        """Return a flow, or the flows of a slice as one array.

        Raises:
            FlowFileError: Its data are missing or damaged.
            IndexError: There is no such flow.
        """
        if isinstance(index, slice):
            chosen = range(*index.indices(len(self)))
            flows = np.empty((len(chosen), self.height, self.width, 2), np.float32)
            for position, i in enumerate(chosen):
                flows[position] = self._read_flow(i)
            return flows
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.path} has {len(self)} flows; there is no number {i}.")
        return self._read_flow(i % len(self))

    def __iter__(self) -> Iterator[Flow]:
        """Yield the flows in order."""
        return (self._read_flow(i) for i in range(len(self)))

    @property
    def time_base(self) -> Fraction:
        """Unit of `pts` in seconds."""
        return parse_time_base(self.info.time_base)

    @cached_property
    def pts(self) -> npt.NDArray[np.int64]:
        """(N, 2) times of both frames of each flow, in units of `time_base`."""
        rows: npt.NDArray[np.int64] = self._rows(arrays.PTS, np.dtype("<i8")).astype(np.int64)
        return rows

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """(N, 2) times of both frames of each flow, in seconds."""
        return np.multiply(self.pts, float(self.time_base), dtype=np.float64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each flow: that of a file with it, without suffix."""
        rows = self._rows(arrays.NAME, np.dtype(np.uint8))
        texts = [row.tobytes().rstrip(b"\0") for row in rows]
        names = tuple(text.decode(errors="surrogateescape") for text in texts)
        for name in names:
            if not is_name(name):
                raise FlowFileError(
                    f"{self.path} names a flow {name!r}; expected a relative path without '..'."
                )
        return names

    def _read_flow(self, index: int) -> Flow:
        key = self._flow.chunk_key(index)
        with self._named(key):
            sizes = prediction.sizes(self.height, self.width)
            levels = prediction.levels_from_bytes(
                self._content(key, sizes), self.height, self.width
            )
        return flow_from_levels(levels, self.info.step)

    def _rows(self, kind: arrays.ArrayKind, dtype: np.dtype[Any]) -> Array:
        size = dtype.itemsize * int(np.prod(kind.chunk))
        chunks = [np.empty((0, *kind.chunk[1:]), dtype)]
        for index in range(-(-len(self) // arrays.ROWS)):
            key = kind.chunk_key(index)
            with self._named(key):
                content = self._content(key, (size,))
            chunks.append(content.view(dtype).reshape(kind.chunk))
        return np.concatenate(chunks)[: len(self)]

    def _content(self, key: str, sizes: tuple[int, ...]) -> blosc.Bytes:
        return blosc.decompress(self._files.read(key, blosc.largest_frame(max(sizes))), sizes)

    def _parsed(self, folder: str, parse: Callable[[dict[str, Any]], T]) -> T:
        key = f"{folder}{arrays.METADATA}"
        with self._named(key):
            return parse(arrays.parse_json(self._files.read(key, _METADATA_LIMIT)))

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Put the name of the file before an error about its content."""
        try:
            yield
        except FlowFileError as error:
            raise FlowFileError(f"{self.path / key}: {error}") from None
