"""ChairsSDHom (Ilg et al., CVPR 2017): Flying Chairs with small motion and plain backgrounds.

https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs.en.html, as its archive
unpacks: ``data/train/t0/00000.png``, ``t1`` and ``flow/00000.pfm``, and the same below ``test``.
"""

from pathlib import Path

from engine.data.companions import flows
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import pictures
from engine.data.pair import PairsError

_SPLITS = ("train", "test")


def _find_pairs(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    splits = [split] if split else [x for x in _SPLITS if (folder / "data" / x).is_dir()]
    return [pair for name in splits for pair in _pairs_of(folder / "data" / name)]


def _pairs_of(root: Path) -> list[PairFiles]:
    first, second = pictures(root / "t0"), pictures(root / "t1")
    flow = flows(root / "flow")
    for name in sorted(first.keys() ^ second.keys()):
        raise PairsError(
            f"{root} has {name} in {'t0' if name in first else 't1'} alone; expected both images "
            "of each pair: restore the other"
        )
    return [
        PairFiles(f"{root.name}/{name}", one, second[name], flow.of(name, one))
        for name, one in first.items()
    ]


CHAIRSSDHOM = DataSet(
    "chairssdhom",
    _find_pairs,
    layout="data/train/t0/00000.png, data/train/t1/00000.png and data/train/flow/00000.pfm",
    splits=_SPLITS,
    evaluated="test",
)
