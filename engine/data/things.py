"""FlyingThings3D (Mayer et al., CVPR 2016), the full data set, not its subset of 2018.

https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html, as the archives
unpack: ``frames_cleanpass/TRAIN/A/0000/left/0006.png`` with the flow to the next frame in
``optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm`` and that to the
previous one in ``into_past``. A scene's last frame has no next image, its first one no previous.
"""

from collections.abc import Iterator
from pathlib import Path

from engine.data.companions import Companions, flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import list_folders, next_frames, pass_folder, pictures
from engine.data.pair import PairsError

_PASSES = {"clean": "frames_cleanpass", "final": "frames_finalpass"}
_SPLITS = {"train": "TRAIN", "test": "TEST"}


def _find_pairs(folder: Path, split: str | None, pass_name: str | None) -> list[PairFiles]:
    frames = pass_folder(folder, _PASSES, pass_name)
    names = [_SPLITS[split]] if split else [x for x in _SPLITS.values() if (frames / x).is_dir()]
    parts = [frames / name for name in names]
    if not parts or not all(part.is_dir() for part in parts):
        missing = (parts or [frames / "TRAIN"])[0]
        raise PairsError(f"{missing} does not exist; expected the split's scenes: unpack them")
    scenes = [
        scene for part in parts for letter in list_folders(part) for scene in list_folders(letter)
    ]
    return [
        pair
        for scene in scenes
        for pair in _pairs_of(scene, folder / "optical_flow" / scene.relative_to(frames))
    ]


def _pairs_of(scene: Path, place: Path) -> Iterator[PairFiles]:
    """Yield the pairs of a scene: each camera that is there, into the future and into the past."""
    for camera in list_folders(scene):
        steps = list(next_frames(pictures(camera)))
        end = f"_{camera.name[0].upper()}"
        future = flows(place / "into_future" / camera.name)
        past = flows(place / "into_past" / camera.name)
        for name, one, two in steps:
            yield _pair(future, f"OpticalFlowIntoFuture_{name}{end}", one, two, scene)
        for _, two, one in steps:
            yield _pair(past, f"OpticalFlowIntoPast_{one.stem}{end}", one, two, scene)


def _pair(flow: Companions, name: str, one: Path, two: Path, scene: Path) -> PairFiles:
    part, letter, number = scene.parts[-3:]
    sequence = f"{part}/{letter}/{number}/{flow.folder.parent.name}/{flow.folder.name}"
    return PairFiles(f"{sequence}/{name}", one, two, flow.of(name, one), sequence=sequence)


THINGS = DataSet(
    "things",
    _find_pairs,
    layout="frames_cleanpass/TRAIN/A/0000/left/0006.png and optical_flow/TRAIN/A/0000/...",
    splits=tuple(_SPLITS),
    passes=tuple(_PASSES),
    evaluated="test",
)
