"""The rows of the table: what writes flows into a folder and reads them."""

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.storage.codecs import Codec, blosc, float16, levels, zfp
from engine.flow.formats import bytes_from_flow, flow_from_bytes
from engine.store.levels import DEFAULT_STEP, step_text
from engine.store.reader import FlowStore
from engine.store.writer import StoreWriter, write_store
from engine.types import Flow

STEPS = (1 / 256, DEFAULT_STEP, 1 / 16, 1 / 4)


class Session(Protocol):
    """Flows in a folder."""

    def write(self, flow: Flow) -> None:
        """Add a flow."""

    def finish(self) -> None:
        """End writing."""

    def read(self, index: int) -> Flow:
        """Return a flow."""


class Files:
    """A `Session` with a file for each flow."""

    def __init__(self, codec: Codec, folder: Path) -> None:
        self._codec, self._folder, self._count = codec, folder, 0

    def write(self, flow: Flow) -> None:
        self._file(self._count).write_bytes(self._codec.encode(flow))
        self._count += 1

    def finish(self) -> None:
        pass

    def read(self, index: int) -> Flow:
        return self._codec.decode(self._file(index).read_bytes())

    def _file(self, index: int) -> Path:
        return self._folder / f"{index:06d}"


class Stores:
    """A `Session` with a store for each size of the flows."""

    def __init__(self, step: float, folder: Path) -> None:
        self._step, self._folder, self._open = step, folder, ExitStack()
        self._writers: dict[tuple[int, ...], StoreWriter] = {}
        self._places: list[tuple[Path, int]] = []
        self._readers: dict[Path, FlowStore] = {}

    def write(self, flow: Flow) -> None:
        height, width, _ = flow.shape
        path = self._folder / f"{height}x{width}.zarr"
        if (height, width) not in self._writers:
            block = write_store(
                path, (height, width), source="", time_base=Fraction(1, 25), step=self._step
            )
            self._writers[height, width] = self._open.enter_context(block)
        writer = self._writers[height, width]
        index = len(writer)
        self._places.append((path, index))
        times = Fraction(index, 25), Fraction(index + 1, 25)
        writer.append(flow, name=f"{index:06d}", times=times)

    def finish(self) -> None:
        self._open.close()
        self._readers = {path: FlowStore(path) for path, _ in self._places}

    def read(self, index: int) -> Flow:
        path, place = self._places[index]
        return self._readers[path][place]


class Method(NamedTuple):
    """A row: ``open`` returns its session in a folder."""

    name: str
    open: Callable[[Path], Session]


def methods() -> list[Method]:
    """Return formats, stores with several steps, and alternatives to the codec of a store."""
    return [Method(name, partial(Files, codec)) for name, codec in _FORMATS.items()] + [
        *(Method(f"store, {step_text(step)} px", partial(Stores, step)) for step in STEPS),
        *(Method(name, partial(Files, codec)) for name, codec in _alternatives().items()),
    ]


def _format(suffix: str) -> Codec:
    name = Path(f"flow{suffix}")
    return Codec(
        lambda flow: bytes_from_flow(flow, name), lambda data: flow_from_bytes(data, name)[0]
    )


_FORMATS = {
    ".flo": _format(".flo"),
    "KITTI .png": _format(".png"),
    ".npz": _format(".npz"),
    ".npy, float16": float16(blosc("zstd", 0, "none")),
    "float16, blosc zstd 5": float16(blosc("zstd", 5, "bytes")),
    "zfp, 1/128 px": zfp(1 / 128),
    "zfp, 1/32 px": zfp(1 / 32),
}


def _alternatives() -> dict[str, Codec]:
    """Return 16-bit levels at the default step; each differs from a store's in what it names."""
    kinds = {
        "no prediction, bytes, zstd 3": ("nothing", "zstd", 3, "bytes"),
        "no prediction, bits, zstd 1": ("nothing", "zstd", 1, "bits"),
        "left, bits, zstd 1": ("left", "zstd", 1, "bits"),
        "plane, bits, zstd 1": ("plane", "zstd", 1, "bits"),
        "plane folded, bytes, zstd 1": ("plane folded", "zstd", 1, "bytes"),
        "plane folded, bits, lz4": ("plane folded", "lz4", 5, "bits"),
        "plane folded, bits, zstd 1": ("plane folded", "zstd", 1, "bits"),
        "plane folded, bits, zstd 5": ("plane folded", "zstd", 5, "bits"),
    }
    return {
        name: levels(DEFAULT_STEP, predicted, blosc(compressor, level, shuffle))
        for name, (predicted, compressor, level, shuffle) in kinds.items()
    }
