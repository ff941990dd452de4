"""The flows that are stored: true flow of data sets, and what a network computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from bench.data import load_pairs
from engine.engine import FlowEngine
from engine.types import Flow
from engine.video.picture_reader import DEFAULT_RATE, PictureReader
from engine.video.reader import VideoReader


@dataclass(frozen=True)
class FlowSet:
    """Flows of one kind.

    Attributes:
        name: for the title of a table.
        source: what they are, and where from.
        flows: each (H, W, 2) float32 pixels, NaN where it is unknown.
    """

    name: str
    source: str
    flows: list[Flow]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "flows": len(self.flows),
            "sizes": sorted({"{}x{}".format(*flow.shape) for flow in self.flows}),
        }


def sets_of_data(
    name: str, flow_engine: FlowEngine, *, limit: int, cache: Path
) -> Iterator[FlowSet]:
    """Yield the true flow of pairs, see `load_pairs`, and the network's flow of the same pairs.

    Raises:
        PairsError: The folder has no usable pairs, or one without true flow.
    """
    pairs = load_pairs(name, limit=limit, cache=cache)
    title = pairs.name.rpartition("/")[2]
    yield FlowSet(f"{title}, true", pairs.source, [pair.flow for pair in pairs.read()])
    flows = [flow_engine.infer(pair.image1, pair.image2) for pair in pairs.read()]
    network = _network(flow_engine)
    yield FlowSet(f"{title}, {network}", f"{network} on {pairs.source}", flows)


def set_of_frames(path: Path, flow_engine: FlowEngine, *, limit: int) -> FlowSet:
    """Return the network's flow of the first frames of a video file or a folder of pictures.

    Raises:
        EngineError: They cannot be read.
    """
    kind = "pictures of folder" if path.is_dir() else "video"
    network = _network(flow_engine)
    if path.is_dir():
        flows = _stream(PictureReader(path, rate=Fraction(DEFAULT_RATE)), flow_engine, limit)
    else:
        with VideoReader(path) as video:
            flows = _stream(video, flow_engine, limit)
    return FlowSet(f"{path.name}, {network}", f"{network} on {kind} {path.name}", flows)


def _stream(frames: Any, flow_engine: FlowEngine, limit: int) -> list[Flow]:
    images = (frame.image for frame in islice(frames, limit + 1))
    return [flow.copy() for flow in flow_engine.stream(images)]


def _network(flow_engine: FlowEngine) -> str:
    return f"{flow_engine.manifest.network} {flow_engine.manifest.precision}"
