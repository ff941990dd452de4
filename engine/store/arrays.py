"""The arrays of a store in the terms of Zarr 3.

A reader accepts exactly the arrays that a writer makes: nothing in a file chooses a codec, and
sizes are known before anything is allocated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.bundle.strict_json import strict_json
from engine.errors import FlowFileError
from engine.store import blosc
from engine.store.info import NAME_BYTES
from engine.store.levels import UNKNOWN
from engine.system.pixel_limit import excess

METADATA = "zarr.json"
CODEC = "flownet_engine.flow"  # an entry point of this package, see pyproject.toml
ROWS = 128  # flows for each chunk of ``pts`` and ``name``
LARGEST_SIDE = 1 << 14  # a frame stays below Blosc's limit of 2 GiB
_MOST_FLOWS = 1 << 31
# What has to be equal; attributes and names of dimensions are for people.
_FIXED = (
    *("zarr_format", "node_type", "data_type", "chunk_grid", "chunk_key_encoding"),
    *("fill_value", "codecs"),
)


@dataclass(frozen=True)
class ArrayKind:
    """An array whose first dimension grows.

    Attributes:
        name: of its folder.
        data_type: in Zarr's terms.
        chunk: shape of a chunk.
        codecs: in Zarr's terms.
        fill: value of what was never written.
        dimensions: their names.
        attributes: in Zarr's terms.
    """

    name: str
    data_type: str
    chunk: tuple[int, ...]
    codecs: list[dict[str, Any]]
    fill: int
    dimensions: list[str]
    attributes: dict[str, Any]

    def chunk_key(self, index: int) -> str:
        """Return the path of a chunk in the store."""
        return ".".join([f"{self.name}/c", str(index), *["0"] * (len(self.chunk) - 1)])

    def metadata(self, count: int) -> dict[str, Any]:
        """Return the content of the array's ``zarr.json``."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [count, *self.chunk[1:]],
            "data_type": self.data_type,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*self.chunk]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": self.fill,
            "codecs": self.codecs,
            "attributes": self.attributes,
            "dimension_names": self.dimensions,
        }

    def parse_count(self, metadata: Mapping[str, Any]) -> int:
        """Return the first dimension.

        Raises:
            FlowFileError: It is not the array that a writer makes.
        """
        expected = self.metadata(0)
        for key in _FIXED:
            if metadata.get(key) != expected[key]:
                raise FlowFileError(
                    f"has {self.name} with {key} {metadata.get(key)!r:.200}; expected "
                    f"{expected[key]!r}. Write it again by `flow convert`."
                )
        match metadata.get("shape"):
            case [int(count), *rest] if rest == [*self.chunk[1:]] and 0 <= count <= _MOST_FLOWS:
                return count
        raise FlowFileError(
            f"has {self.name} of shape {metadata.get('shape')!r:.80}; expected a count and then "
            f"{self.chunk[1:]}."
        )


def flow_array(height: int, width: int, step: float) -> ArrayKind:
    """Return ``flow``: levels, a frame for each chunk, the x plane before the y plane."""
    return ArrayKind(
        name="flow",
        data_type="int16",
        chunk=(1, 2, height, width),
        codecs=[{"name": CODEC}, blosc.configuration(2)],
        fill=UNKNOWN,
        dimensions=["frame", "component", "y", "x"],
        attributes={"scale_factor": step, "units": "px"},
    )


PTS = ArrayKind(
    name="pts",
    data_type="int64",
    chunk=(ROWS, 2),
    codecs=[{"name": "bytes", "configuration": {"endian": "little"}}, blosc.configuration(8)],
    fill=0,
    dimensions=["frame", "end"],
    attributes={"description": "times of the first and the second frame of each flow"},
)

NAME = ArrayKind(
    name="name",
    data_type="uint8",
    chunk=(ROWS, NAME_BYTES),
    codecs=[{"name": "bytes"}, blosc.configuration(1)],
    fill=0,
    dimensions=["frame", "byte"],
    attributes={"description": "UTF-8, filled up with zeros"},
)


def parse_size(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width in the metadata of ``flow``.

    Raises:
        FlowFileError: There is no sensible size.
    """
    match metadata.get("shape"):
        case [_, 2, int(height), int(width)] if (
            0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE
        ):
            if fault := excess(height, width):
                raise FlowFileError(fault)
            return height, width
    raise FlowFileError(
        f"has flow of shape {metadata.get('shape')!r:.80}; expected (frames, 2, height, width) "
        f"with sides up to {LARGEST_SIDE}."
    )


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the object in a ``zarr.json``.

    Raises:
        FlowFileError: It is none.
    """
    try:
        value = strict_json(data.decode())
    except (ValueError, RecursionError) as error:
        raise FlowFileError(f"is no JSON ({error!s:.80}): damaged.") from None
    if not isinstance(value, dict):
        raise FlowFileError(f"is {type(value).__name__}; expected a JSON object.")
    return value


def dump_json(metadata: Mapping[str, Any]) -> bytes:
    """Return the content of a ``zarr.json``."""
    return json.dumps(metadata, indent=1, allow_nan=False).encode()
