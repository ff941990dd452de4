"""Middlebury flow (Baker et al., IJCV 2011), https://vision.middlebury.edu/flow/data/.

As the archives unpack: ``other-data/<scene>/frame10.png`` and ``frame11.png``, with the flow of
eight of the scenes in ``other-gt-flow/<scene>/flow10.flo``; ``eval-data`` is the test split.
"""

from pathlib import Path

from engine.data.companions import flows, no_flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import list_folders, pictures
from engine.data.pair import PairsError

_FIRST, _SECOND = "frame10", "frame11"


def _find_pairs(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    is_test = split == "test"
    images = folder / ("eval-data" if is_test else "other-data")
    scenes = images if is_test else folder / "other-gt-flow"
    if not scenes.is_dir():
        raise PairsError(f"{scenes} does not exist; expected a folder for each scene: unpack it")
    return [_pair_of(images / scene.name, scene, is_test=is_test) for scene in list_folders(scenes)]


def _pair_of(place: Path, flow_place: Path, *, is_test: bool) -> PairFiles:
    images = pictures(place)
    for name in (_FIRST, _SECOND):
        if name not in images:
            raise PairsError(f"{place} has no {name}.*; expected both images: restore it")
    flow = no_flows(flow_place) if is_test else flows(flow_place)
    return PairFiles(
        f"{place.name}/flow10", images[_FIRST], images[_SECOND], flow.of("flow10", images[_FIRST])
    )


MIDDLEBURY = DataSet(
    "middlebury",
    _find_pairs,
    layout="other-data/Venus/frame10.png and other-gt-flow/Venus/flow10.flo",
    splits=("test",),
)
