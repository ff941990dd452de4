"""KITTI 2012 (Geiger et al., CVPR 2012) and 2015 (Menze and Geiger, CVPR 2015).

https://www.cvlibs.net/datasets/kitti/eval_flow.php, as the archives unpack. The pair of a scene is
``<scene>_10`` and ``<scene>_11``. ``flow_occ`` is the flow of all pixels, ``flow_noc`` of those
that stay in the picture and are visible in both.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from engine.data.companions import flows, masks, no_flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import pass_folder, pictures, second_image

# The split of IRR (visinf/irr, datasets/kitti_combined.py): the scenes for validation.
_VALIDATION_2012 = (
    0, 12, 15, 16, 17, 18, 24, 30, 38, 39, 42, 50, 54, 59, 60, 61, 77, 78, 81, 89, 97, 101, 107,
    121, 124, 142, 145, 146, 152, 154, 155, 158, 159, 160, 164, 182, 183, 184, 190,
)  # fmt: skip
_VALIDATION_2015 = (
    10, 11, 12, 25, 26, 30, 31, 40, 41, 42, 46, 52, 53, 72, 73, 74, 75, 76, 80, 81, 85, 86, 95, 96,
    97, 98, 104, 116, 117, 120, 121, 126, 127, 153, 172, 175, 183, 184, 190, 199,
)  # fmt: skip
_PASSES_2012 = {"colour": "colored_0", "grey": "image_0"}
_PASSES_2015 = {"colour": "image_2"}


def _finder(
    passes: Mapping[str, str], validation: Collection[int]
) -> Callable[[Path, str | None, str | None], list[PairFiles]]:
    def find_pairs(folder: Path, split: str | None, pass_name: str | None) -> list[PairFiles]:
        root = folder / ("testing" if split == "test" else "training")
        pairs = _pairs_of(root, pass_folder(root, passes, pass_name))
        if split in ("train", "validation"):
            wanted = split == "validation"
            pairs = [pair for pair in pairs if (int(pair.name[:6]) in validation) == wanted]
        return pairs

    return find_pairs


def _pairs_of(root: Path, place: Path) -> list[PairFiles]:
    images = pictures(place)
    flow = no_flows(place) if root.name == "testing" else flows(root / "flow_occ")
    noc = root / "flow_noc"
    flow_noc = flows(noc) if noc.is_dir() else no_flows(noc)
    foreground = masks(root / "obj_map")
    return [
        PairFiles(
            name,
            one,
            second_image(images, name, one),
            flow.of(name, one),
            flow_noc=flow_noc.of(name, one),
            foreground=foreground.of(name, one),
        )
        for name, one in images.items()
        if name.endswith("_10")
    ]


KITTI2012 = DataSet(
    "kitti2012",
    _finder(_PASSES_2012, _VALIDATION_2012),
    layout="training/colored_0/000000_10.png and training/flow_occ/000000_10.png",
    splits=("train", "validation", "test"),
    passes=tuple(_PASSES_2012),
    padding="kitti",
)
KITTI2015 = DataSet(
    "kitti2015",
    _finder(_PASSES_2015, _VALIDATION_2015),
    layout="training/image_2/000000_10.png and training/flow_occ/000000_10.png",
    splits=("train", "validation", "test"),
    passes=tuple(_PASSES_2015),
    padding="kitti",
)
