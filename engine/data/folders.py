"""Folders of pairs: Flying Chairs and folders in its layout, and the frames of a video."""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.data.files import PairFiles
from engine.data.pair import PairsError
from engine.data.split import select_split
from engine.flow.formats import FLOW_SUFFIXES

# The 8-bit formats of https://docs.opencv.org/4.x/d4/da8/group__imgcodecs.html that hold frames.
PICTURE_SUFFIXES = (
    ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"
)  # fmt: skip
_FIRST, _SECOND, _FLOW = "_img1", "_img2", "_flow"


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
    pairs = pair_up(_list_files(folder))
    return pairs if split is None else select_split(pairs, folder, split)


def _list_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise PairsError(
            f"{folder} {found}; expected a folder of pictures, or a word such as 'synthetic': "
            "check the path"
        )
    files = _readable(folder)
    if not any(map(_is_half, files)) and (folder / "data").is_dir():
        below = _readable(folder / "data")
        files = below if any(map(_is_half, below)) else files
    if not any(map(_is_picture, files)):
        raise PairsError(
            f"{folder} contains no picture; expected at least two, with suffixes of "
            f"{' '.join(PICTURE_SUFFIXES)}: give the folder that directly contains them"
        )
    return files


def _readable(folder: Path) -> list[Path]:
    # macOS stores metadata on foreign disks in files whose names start with a dot.
    suffixes = {*PICTURE_SUFFIXES, *FLOW_SUFFIXES}
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    ]


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
    files = sorted(files, key=_natural)
    pictures = list(filter(_is_picture, files))
    by_stem: dict[str, Path] = {}
    for path in list(filter(_is_half, pictures)) or pictures:
        other = by_stem.setdefault(path.stem, path)
        if other != path:
            raise PairsError(
                f"{path.parent} contains both {other.name} and {path.name}; expected one picture "
                "of each name: remove one of them"
            )
    flows = _flows_by_id(files)
    return [
        PairFiles(name, one, two, flows.get(name))
        for name, one, two in _named(by_stem) or _consecutive(list(by_stem.values()))
    ]


def _named(by_stem: dict[str, Path]) -> list[tuple[str, Path, Path]]:
    """Return id and images of ``<id>_img1.*`` with ``<id>_img2.*``."""
    ends = _FIRST, _SECOND
    firsts, seconds = ([x.removesuffix(end) for x in by_stem if x.endswith(end)] for end in ends)
    for name in sorted(set(firsts) ^ set(seconds)):
        present, missing = ends if name in firsts else reversed(ends)
        raise PairsError(
            f"{by_stem[name + present]} has no {name}{missing}.* beside it; expected both images "
            "of each pair: restore the one or remove the other"
        )
    return [(name, by_stem[name + _FIRST], by_stem[name + _SECOND]) for name in firsts]


def _consecutive(frames: Sequence[Path]) -> list[tuple[str, Path, Path]]:
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


def _natural(path: Path) -> tuple[list[str | int], str]:
    words = re.split(r"(\d+)", path.stem)
    return [int(word) if i % 2 else word for i, word in enumerate(words)], path.name
