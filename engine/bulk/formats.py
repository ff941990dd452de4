"""What is extracted from a clip: the flow of its pairs of frames, or its score."""

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from engine.bulk.plan import Clip
from engine.bulk.shard import Add, Row
from engine.engine import FlowEngine
from engine.errors import BackendNotInstalledError, EngineError, sentence
from engine.flow.formats import bytes_from_flow
from engine.images import LevelsChoice
from engine.store.entries import store_entries
from engine.store.info import StoreInfo
from engine.video.clips import open_clip
from engine.video.frame import FrameSource
from engine.video.pipeline import flow_frames
from engine.video.score import score_clip

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Settings:
    """How clips are read, and what is written.

    Attributes:
        format: a key of `FORMATS`.
        every: N; the flow of every N-th pair of frames.
        stride: N; pairs of every N-th frame and the next of those.
        levels: see `engine.images.read_image`.
        threads: CPU threads for decoding.
        step: see `StoreInfo`.
        max_side: frames that are scored are downscaled to this longer side.
        bundle: see `StoreInfo`.
        network: see `StoreInfo`.
    """

    format: str
    every: int
    stride: int
    levels: LevelsChoice | None
    threads: int
    step: float
    max_side: int
    bundle: str
    network: str


def extract_clip(
    number: int, clip: Clip, add: Add, *, settings: Settings, flow_engine: FlowEngine
) -> Row:
    """Compute a clip, opened once and read forward; return its row.

    If it cannot be read to its end, the row's status says why, and flows before that are kept.

    Args:
        number: of the clip, with which the names of its entries begin.
        clip: where it is.
        add: takes the entries.
        settings: what to do with it.
        flow_engine: the engine.

    Raises:
        BackendNotInstalledError: Clips of this kind cannot be read here.
        OutputError: Of ``add``.
    """
    row: Row = {"file": clip.file, "status": "ok"}
    name = f"{number:07d}-{_NOT_IN_NAMES.sub('_', Path(clip.file).name)[:_LONGEST_NAME]}"
    try:
        with open_clip(
            Path(clip.file),
            stride=settings.stride,
            threads=settings.threads,
            levels=settings.levels,
        ) as source:
            FORMATS[settings.format](source, flow_engine, settings, name, add, row)
            row["notes"] = source.faults()
    except BackendNotInstalledError:
        raise
    except (EngineError, OSError) as error:
        row["status"] = sentence(str(error) or type(error).__name__)
    return row


def _store(
    source: FrameSource, flow_engine: FlowEngine, settings: Settings, name: str, add: Add, row: Row
) -> None:
    folder = f"{name}.zarr"
    _begin(row, source, folder)
    info = StoreInfo.begun(
        source.path.name,
        source.time_base,
        bundle=settings.bundle,
        network=settings.network,
        step=settings.step,
    )
    steps = flow_frames(source, flow_engine, every=settings.every)
    with (
        closing(steps),
        store_entries(
            lambda key, data: add(f"{folder}/{key}", data), (source.height, source.width), info
        ) as store,
    ):
        for step in steps:
            times = step.first.time, step.second.time
            store.append(step.flow, name=step.first.name, times=times)
            row["flows"] += 1


def _png(
    source: FrameSource, flow_engine: FlowEngine, settings: Settings, name: str, add: Add, row: Row
) -> None:
    _begin(row, source, name)
    with closing(flow_frames(source, flow_engine, every=settings.every)) as steps:
        for step in steps:
            file = f"{step.first.name}.png"
            add(f"{name}/{file}", bytes_from_flow(step.flow, file))
            row["flows"] += 1


def _begin(row: Row, source: FrameSource, folder: str) -> None:
    row |= {"height": source.height, "width": source.width, "flows": 0, "folder": folder}


def _score(
    source: FrameSource, flow_engine: FlowEngine, settings: Settings, name: str, add: Add, row: Row
) -> None:
    score = score_clip(
        source,
        flow_engine,
        max_side=settings.max_side,
        stride=settings.stride,
        every=settings.every,
    )
    row |= {"stride": settings.stride, **score.to_json()}


Extract = Callable[[FrameSource, FlowEngine, Settings, str, Add, Row], None]

FORMATS: dict[str, Extract] = {"store": _store, "png": _png, "score": _score}
# Which of them put entries into an archive.
ARCHIVED = ("store", "png")
