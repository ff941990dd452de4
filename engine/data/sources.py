"""Sources of pairs by their names on command lines: data sets in folders, and one stereo pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from engine.data.chairs import CHAIRS
from engine.data.chairs1485 import CHAIRS1485
from engine.data.chairssdhom import CHAIRSSDHOM
from engine.data.files import PairFiles
from engine.data.frames import FRAMES
from engine.data.hd1k import HD1K
from engine.data.kitti import KITTI2012, KITTI2015
from engine.data.middlebury import MIDDLEBURY
from engine.data.pair import Pair, PairsError
from engine.data.sintel import SINTEL
from engine.data.spring import SPRING
from engine.data.things import THINGS
from engine.data.video import VIDEO
from engine.errors import nearest

T = TypeVar("T")


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        CHAIRS, CHAIRS1485, THINGS, SINTEL, KITTI2012, KITTI2015, HD1K, CHAIRSSDHOM, MIDDLEBURY,
        SPRING, FRAMES, VIDEO,
    )
}  # fmt: skip
DEFAULT_DATA_SET = "chairs"


class Source(NamedTuple):
    """Pairs by their name on a command line."""

    data_set: str
    folder: Path
    pass_name: str | None = None

    def __str__(self) -> str:
        """Return the name that `parse_source` parses to this."""
        rendered = f"/{self.pass_name}" if self.pass_name else ""
        return f"{self.data_set}{rendered}:{self.folder}"


def parse_source(source: str) -> Source:
    """Parse ``NAME:DIR``, ``NAME/PASS:DIR`` or ``DIR``, which is `DEFAULT_DATA_SET`'s layout.

    Raises:
        PairsError: The folder is empty text, there is no such pass, or the folder does not exist
            and the name is nearly that of a data set.
    """
    prefix, colon, folder = source.partition(":")
    name, _, pass_name = prefix.partition("/")
    if not colon or name not in DATA_SETS:
        _refuse_misspelt(source, name if colon else "")
        name, folder, pass_name = DEFAULT_DATA_SET, source, ""
    if not folder:
        raise PairsError(f"{source!r} names no folder; expected DIR or {name}:DIR")
    if pass_name:
        DATA_SETS[name].check_pass(pass_name)
    return Source(name, Path(folder), pass_name or None)


def _refuse_misspelt(source: str, name: str) -> None:
    guess = nearest(name, DATA_SETS)
    if guess and not Path(source).exists():
        raise PairsError(
            f"{source}: there is no data set {name!r}; expected NAME:DIR with one of "
            f"{', '.join(DATA_SETS)}.{guess}"
        )


def find_source(source: str, *, split: str | None = None) -> Sequence[PairFiles]:
    """Find the pairs of ``NAME:DIR``, ``NAME/PASS:DIR`` or ``DIR``, see `DataSet.find_pairs`.

    Raises:
        PairsError: The folder does not have the data set's layout, contains no pairs, or the data
            set has no such split or pass.
    """
    name, folder, pass_name = parse_source(source)
    return DATA_SETS[name].find_pairs(folder, split=split, pass_name=pass_name)


def spread(items: Sequence[T], limit: int) -> list[T]:
    """Return at most ``limit`` items, in order, at distances that differ by one at most."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def motorcycle() -> Pair:
    """Return the stereo pair Motorcycle (Middlebury 2014, a quarter of its size) of scikit-image.

    The right image of a rectified pair is the left one with every pixel moved left by its
    disparity, so the flow is (-disparity, 0) where the disparity is known.
    """
    import skimage.data  # only this pair needs the package

    left, right, disparity = skimage.data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    flow = np.full((*disparity.shape, 2), np.nan, np.float32)
    valid = np.isfinite(disparity)
    flow[valid] = np.stack((-disparity[valid], np.zeros_like(disparity[valid])), axis=-1)
    return Pair("motorcycle", left, right, flow)
