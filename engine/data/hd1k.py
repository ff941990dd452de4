"""HD1K (Kondermann et al., CVPR workshops 2016), http://hci-benchmark.iwr.uni-heidelberg.de.

All sequences lie in one folder: ``hd1k_input/image_2/<sequence>_<frame>.png``, with the flow in
``hd1k_flow_gt/flow_occ``, KITTI's format. The last frame of a sequence has no next image.
"""

import itertools
from pathlib import Path

from engine.data.companions import flows, no_flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import next_frames, pictures


def _find_pairs(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    is_test = split == "test"
    images = pictures(folder / ("hd1k_challenge" if is_test else "hd1k_input") / "image_2")
    place = folder / "hd1k_flow_gt" / "flow_occ"
    flow = no_flows(place) if is_test else flows(place)
    return [
        PairFiles(name, one, two, flow.of(name, one), sequence=sequence)
        for sequence, names in itertools.groupby(images, lambda name: name.partition("_")[0])
        for name, one, two in next_frames({name: images[name] for name in names})
    ]


HD1K = DataSet(
    "hd1k",
    _find_pairs,
    layout="hd1k_input/image_2/000000_0000.png and hd1k_flow_gt/flow_occ/000000_0000.png",
    splits=("test",),
    padding="kitti",
)
