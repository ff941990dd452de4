"""Folders of pairs: Flying Chairs and folders in its layout, and the frames of a video."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.data.chairs_split import select_split
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.layouts import PICTURES, check_folder, layout_hint
from engine.data.listing import PICTURE_SUFFIXES, by_stem, natural, scan_files
from engine.data.pair import PairsError
from engine.flow.formats import FLOW_SUFFIXES

_FIRST, _SECOND, _FLOW = "_img1", "_img2", "_flow"
_SUFFIXES = {*PICTURE_SUFFIXES, *FLOW_SUFFIXES}


def find_pairs(folder: Path, *, split: str | None = None) -> list[PairFiles]:
    """Find the pairs of a folder, in natural order: frame2 comes before frame10.

    A folder contains pairs ``<id>_img1.*`` and ``<id>_img2.*``, as Flying Chairs names them; other
    pictures in it are ignored. Where no picture has such a name, each picture and the next one are
    a pair, whose id is the first one's name without suffix. ``<id>_flow.*`` is the true flow; of
    several formats the first in `FLOW_SUFFIXES` counts. Subfolders are ignored, except ``data``
    where the pairs are in it, as in the archive of Flying Chairs.

    Args:
        folder: where the files are.
        split: which pairs, see `select_split`; None: all.

    Raises:
        PairsError: No such folder, no pair in it, an image of a pair is missing, or the split file
            does not fit the pairs.
    """
    pairs = pair_up(_scan_files(folder))
    return pairs if split is None else select_split(pairs, folder, split)


def _scan_files(folder: Path) -> list[Path]:
    check_folder(folder, PICTURES)
    files = scan_files(folder, _SUFFIXES)
    if not any(map(_is_half, files)) and (folder / "data").is_dir():
        below = scan_files(folder / "data", _SUFFIXES)
        files = below if any(map(_is_half, below)) else files
    if not any(map(_is_picture, files)):
        raise no_pictures(folder)
    return files


def no_pictures(folder: Path) -> PairsError:
    """Return the error of a folder without pictures; it names the data set that is there."""
    return PairsError(
        f"{folder} contains no picture; expected at least two, with suffixes of "
        f"{' '.join(PICTURE_SUFFIXES)}: give the folder that directly contains them"
        f"{layout_hint(folder)}"
    )


def _is_picture(path: Path) -> bool:
    # A picture format may hold flow, as KITTI's png does.
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.stem.endswith(_FLOW)


def _is_half(path: Path) -> bool:
    return _is_picture(path) and path.stem.endswith((_FIRST, _SECOND))


def pair_up(files: Iterable[Path]) -> list[PairFiles]:
    """Pair the files of one folder by their names, see `find_pairs`; reads nothing.

    Raises:
        PairsError: Two pictures differ only in their suffix, or one has no partner.
    """
    files = sorted(files, key=natural)
    pictures = list(filter(_is_picture, files))
    stems = by_stem(list(filter(_is_half, pictures)) or pictures)
    flows = _flows_by_id(files)
    return [
        PairFiles(name, one, two, flows.get(name))
        for name, one, two in _named(stems) or consecutive(list(stems.values()))
    ]


def _named(stems: dict[str, Path]) -> list[tuple[str, Path, Path]]:
    """Return id and images of ``<id>_img1.*`` with ``<id>_img2.*``."""
    ends = _FIRST, _SECOND
    firsts, seconds = ([x.removesuffix(end) for x in stems if x.endswith(end)] for end in ends)
    for name in sorted(set(firsts) ^ set(seconds)):
        present, missing = ends if name in firsts else reversed(ends)
        raise PairsError(
            f"{stems[name + present]} has no {name}{missing}.* beside it; expected both images "
            "of each pair: restore the one or remove the other"
        )
    return [(name, stems[name + _FIRST], stems[name + _SECOND]) for name in firsts]


def consecutive(frames: Sequence[Path]) -> list[tuple[str, Path, Path]]:
    """Return name and images of each frame with the next, whatever their numbers are.

    Raises:
        PairsError: There is only one frame.
    """
    if len(frames) == 1:
        raise PairsError(
            f"{frames[0]} is the only picture in its folder; expected at least two frames, or "
            "<id>_img1.* with <id>_img2.*: add the next frame"
        )
    return [(one.stem, one, two) for one, two in itertools.pairwise(frames)]


def _flows_by_id(files: Iterable[Path]) -> dict[str, Path]:
    flows = [
        path for path in files if path.stem.endswith(_FLOW) and path.suffix.lower() in FLOW_SUFFIXES
    ]
    flows.sort(key=lambda path: FLOW_SUFFIXES.index(path.suffix.lower()), reverse=True)
    return {path.stem.removesuffix(_FLOW): path for path in flows}  # the last one stays


def _find_split(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    return find_pairs(folder, split=split)


CHAIRS = DataSet(
    "chairs",
    _find_split,
    layout="data/00001_img1.ppm, data/00001_img2.ppm and data/00001_flow.flo",
    splits=("train", "validation"),
    evaluated="validation",
)
