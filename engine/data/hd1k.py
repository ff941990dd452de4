"""HD1K (Kondermann et al., CVPR workshops 2016), http://hci-benchmark.iwr.uni-heidelberg.de.

All sequences lie in one folder: ``hd1k_input/image_2/<sequence>_<frame>.png``, with the flow in
``hd1k_flow_gt/flow_occ``, KITTI's format. The last frame of a sequence has no next image.
"""

import itertools
from pathlib import Path

from engine.data.companions import flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import next_frames, pictures, second_image


def _find_pairs(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    if split == "test":
        return _test_pairs(pictures(folder / "hd1k_challenge" / "image_2"))
    images = pictures(folder / "hd1k_input" / "image_2")
    flow = flows(folder / "hd1k_flow_gt" / "flow_occ")
    return [
        PairFiles(name, one, two, flow.of(name, one), sequence=sequence)
        for sequence, names in itertools.groupby(images, _sequence)
        for name, one, two in next_frames({name: images[name] for name in names})
    ]


def _test_pairs(images: dict[str, Path]) -> list[PairFiles]:
    """Pair frame 10 of each sequence with frame 11, as in KITTI."""
    return [
        PairFiles(name, one, second_image(images, name, one), None, sequence=_sequence(name))
        for name, one in images.items()
        if name.endswith("10")
    ]


def _sequence(name: str) -> str:
    return name.partition("_")[0]


HD1K = DataSet(
    "hd1k",
    _find_pairs,
    layout="hd1k_input/image_2/000000_0000.png and hd1k_flow_gt/flow_occ/000000_0000.png",
    splits=("test",),
    padding="kitti",
)
