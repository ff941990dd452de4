"""Spring (Mehl et al., CVPR 2023), https://spring-benchmark.org, as its archives unpack.

``train/0001/frame_left/frame_left_0001.png`` is 1080x1920; its flow to the next frame,
``flow_FW_left/flow_FW_left_0001.flo5``, has twice the height and width, in pixels of the image.
``flow_BW_left`` is the flow to the previous frame, ``right`` the other camera; those that are
there are listed. A pixel's error is the smallest over its four vectors, see `Pair.candidates`.
"""

from collections.abc import Iterator
from pathlib import Path

from engine.data.companions import flows, masks, no_flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import list_folders, next_frames, pictures
from engine.data.pair import PairsError

_CAMERAS = ("left", "right")
_DIRECTIONS = ("FW", "BW")


def _find_pairs(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    root = folder / ("test" if split == "test" else "train")
    if not root.is_dir():
        raise PairsError(f"{root} does not exist; expected a folder for each scene: unpack it")
    pairs = [pair for scene in list_folders(root) for pair in _pairs_of(scene)]
    if not pairs:
        raise PairsError(
            f"{root} has no scene with images and flow; expected 0001/frame_left and "
            "0001/flow_FW_left, for instance: unpack both archives"
        )
    return pairs


def _pairs_of(scene: Path) -> Iterator[PairFiles]:
    for camera in _CAMERAS:
        place = scene / f"frame_{camera}"
        if not place.is_dir():
            continue
        steps = [(one, two) for _, one, two in next_frames(pictures(place))]
        for direction in _DIRECTIONS:
            flow_place = scene / f"flow_{direction}_{camera}"
            if scene.parent.name == "test" or flow_place.is_dir():
                images = steps if direction == "FW" else [(two, one) for one, two in steps]
                yield from _sequence(images, flow_place)


def _sequence(images: list[tuple[Path, Path]], flow_place: Path) -> Iterator[PairFiles]:
    """Yield the pairs of one camera and direction; the flow's folder may be that of a test."""
    scene, sequence = flow_place.parent, flow_place.name
    flow = no_flows(flow_place) if scene.parent.name == "test" else flows(flow_place)
    unmatched = masks(scene / "maps" / f"matchmap_{sequence}")
    for one, two in images:
        number = one.stem.rpartition("_")[2]
        name = f"{sequence}_{number}"
        yield PairFiles(
            f"{scene.name}/{sequence}/{name}",
            one,
            two,
            flow.of(name, one),
            occlusion=unmatched.of(f"matchmap_{name}", one),
            sequence=f"{scene.name}/{sequence}",
            vectors_per_side=2,
        )


SPRING = DataSet(
    "spring",
    _find_pairs,
    layout="train/0001/frame_left/frame_left_0001.png and "
    "train/0001/flow_FW_left/flow_FW_left_0001.flo5",
    splits=("test",),
)
