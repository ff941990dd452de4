"""Folders of pictures: which of them are pairs, and what is in their files."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import FlowFileError, InputError
from engine.flow.formats import read_flow
from engine.images import read_image

# The 8-bit formats of https://docs.opencv.org/4.x/d4/da8/group__imgcodecs.html that hold frames.
PICTURE_SUFFIXES = (
    ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"
)  # fmt: skip


class PairsError(ValueError):
    """There are no usable pairs where they should be; the message names the file or folder."""


@dataclass(frozen=True)
class PairFiles:
    """Where a pair of a folder lies; ``name`` is its id."""

    name: str
    image1: Path
    image2: Path

    @property
    def flow(self) -> Path:
        """Where its true flow belongs, there or not."""
        return self.image1.with_name(f"{self.name}_flow.flo")


def files_of_pairs(folder: Path) -> list[PairFiles]:
    """Find the pairs of a folder; what lies in its subfolders is not seen.

    Either ``<id>_img1.*`` with ``<id>_img2.*``, as Flying Chairs names them, and other pictures do
    not count; or, where no picture is named so, each picture with the next one, sorted by name and
    numbers in it by value. True flow belongs into ``<id>_flow.flo``; the id of two frames is the
    first one's name without its suffix.

    Raises:
        PairsError: no folder, no pair in it, or an image of a pair is missing.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise PairsError(
            f"{folder} {found}; expected a folder of pictures, or a word such as 'synthetic': "
            "check the path"
        )
    # Names that start with a dot are what macOS keeps beside files on foreign disks.
    pictures = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "." and path.is_file()
    ]
    if not pictures:
        raise PairsError(
            f"{folder} holds no picture; expected at least two, with suffixes of "
            f"{' '.join(PICTURE_SUFFIXES)}: give the folder that they lie in directly"
        )
    return paired(pictures)


def paired(pictures: Iterable[Path]) -> list[PairFiles]:
    """Pair pictures of one folder by their names, as in `files_of_pairs`; reads nothing.

    Raises:
        PairsError: two pictures differ in their suffix only, one lacks its other, or there is but
            one.
    """
    ends = "_img1", "_img2"
    pictures = sorted(pictures, key=_natural)
    # Beside such pairs, other pictures do not count.
    pictures = [path for path in pictures if path.stem.endswith(ends)] or pictures
    by_stem: dict[str, Path] = {}
    for path in pictures:
        other = by_stem.setdefault(path.stem, path)
        if other != path:
            raise PairsError(
                f"{path.parent} holds both {other.name} and {path.name}; expected one picture of "
                "each name: remove one of them"
            )
    firsts, seconds = ([x.removesuffix(end) for x in by_stem if x.endswith(end)] for end in ends)
    if not firsts and not seconds:
        return _consecutive(list(by_stem.values()))
    for name in sorted(set(firsts) ^ set(seconds)):
        there, lacking = ends if name in firsts else reversed(ends)
        raise PairsError(
            f"{by_stem[name + there]} has no {name}{lacking}.* beside it; expected both images of "
            "each pair: restore the one or remove the other"
        )
    return [PairFiles(name, *(by_stem[name + end] for end in ends)) for name in firsts]


def _consecutive(frames: Sequence[Path]) -> list[PairFiles]:
    if len(frames) == 1:
        raise PairsError(
            f"{frames[0]} is the only picture in its folder; expected at least two frames, or "
            "<id>_img1.* with <id>_img2.*: add the next frame"
        )
    return [PairFiles(one.stem, one, two) for one, two in itertools.pairwise(frames)]


def spread(files: Sequence[PairFiles], limit: int) -> list[PairFiles]:
    """Take at most ``limit`` pairs, in order, at distances that differ by one at most."""
    count = min(limit, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Sort key: frame2 comes before frame10."""
    words = re.split(r"(\d+)", path.stem)
    return [int(word) if i % 2 else word for i, word in enumerate(words)], path.name


def read_pair(
    files: PairFiles,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """Read both images, uint8 (H, W, 3) RGB, and the true flow (H, W, 2), None without its file.

    Raises:
        PairsError: a file cannot be read, or its size differs from the others'.
    """
    image1, image2 = (_read_picture(path) for path in (files.image1, files.image2))
    if image1.shape != image2.shape:
        raise PairsError(
            f"{files.image1} is {_size(image1)} and {files.image2.name} {_size(image2)}; expected "
            "two images of one size: crop or resize one of them"
        )
    if not files.flow.is_file():
        return image1, image2, None
    try:
        flow, _ = read_flow(files.flow)
    except FlowFileError as error:
        raise PairsError(str(error)) from error
    if flow.shape[:2] != image1.shape[:2]:
        raise PairsError(
            f"{files.flow} is {_size(flow)} and its images are {_size(image1)}; expected one "
            "vector for each pixel: write it at their size or remove it"
        )
    return image1, image2, flow


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    try:
        return read_image(path)
    except InputError as error:
        raise PairsError(str(error)) from error


def _size(array: npt.NDArray[np.generic]) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
