"""MPI-Sintel (Butler et al., ECCV 2012), http://sintel.is.tue.mpg.de, as its archive unpacks."""

from pathlib import Path

from engine.data.companions import flows, masks, no_flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import list_folders, next_frames, pass_folder, pictures

_PASSES = {"clean": "clean", "final": "final", "albedo": "albedo"}
# The split of PWC-Net and IRR, 908 and 133 pairs (visinf/irr, datasets/sintel.py,
# VALIDATE_INDICES): the first frame of the pairs for validation, by scene.
_VALIDATION = {"ambush_6": 1, "market_6": 1, "bamboo_2": 25, "cave_4": 25, "temple_2": 25}


def _find_pairs(folder: Path, split: str | None, pass_name: str | None) -> list[PairFiles]:
    root = folder / ("test" if split == "test" else "training")
    scenes = list_folders(pass_folder(root, _PASSES, pass_name))
    pairs = [pair for scene in scenes for pair in _pairs_of(root, scene)]
    if split in ("train", "validation"):
        pairs = [pair for pair in pairs if _is_validation(pair) == (split == "validation")]
    return pairs


def _pairs_of(root: Path, scene: Path) -> list[PairFiles]:
    place = root / "flow" / scene.name
    flow = no_flows(place) if root.name == "test" else flows(place)
    occlusion = masks(root / "occlusions", scene.name)
    invalid = masks(root / "invalid", scene.name)
    return [
        PairFiles(
            f"{scene.name}/{name}",
            one,
            two,
            flow.of(name, one),
            occlusion=occlusion.of(name, one),
            invalid=invalid.of(name, one),
            sequence=scene.name,
        )
        for name, one, two in next_frames(pictures(scene))
    ]


def _is_validation(pair: PairFiles) -> bool:
    scene, _, frame = pair.name.partition("/")
    return scene in _VALIDATION and int(frame.rpartition("_")[2]) >= _VALIDATION[scene]


SINTEL = DataSet(
    "sintel",
    _find_pairs,
    layout="training/clean/alley_1/frame_0001.png and training/flow/alley_1/frame_0001.flo",
    splits=("train", "validation", "test"),
    passes=tuple(_PASSES),
)
