"""Lists the files of data sets: each folder once, in natural order, without opening a file."""

import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from engine.data.pair import PairsError

# The 8-bit formats of https://docs.opencv.org/4.x/d4/da8/group__imgcodecs.html that hold frames.
PICTURE_SUFFIXES = (
    ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"
)  # fmt: skip
_DIGITS = re.compile(r"(\d+)")


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with one of the lower-case suffixes, frame2 before frame10."""
    return sorted(scan_files(folder, suffixes), key=natural)


def scan_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with one of the lower-case suffixes in any order."""
    # macOS stores metadata on foreign disks in files whose names start with a dot.
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_file()]
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in suffixes]


def list_folders(folder: Path) -> list[Path]:
    """List the subfolders, scene2 before scene10."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    return sorted((folder / name for name in names), key=natural)


def natural(path: Path) -> tuple[list[str | int], str]:
    """Return the key that sorts numbers in names by their value."""
    words: list[str | int] = [*_DIGITS.split(path.stem)]
    words[1::2] = map(int, words[1::2])
    return words, path.name


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Return pictures by their name without suffix.

    Raises:
        PairsError: Two differ only in their suffix.
    """
    stems: dict[str, Path] = {}
    for path in files:
        other = stems.setdefault(path.stem, path)
        if other != path:
            raise PairsError(
                f"{path.parent} contains both {other.name} and {path.name}; expected one picture "
                "of each name: remove one of them"
            )
    return stems


def pass_folder(root: Path, folders: Mapping[str, str], pass_name: str | None) -> Path:
    """Return the folder of a pass, a rendering of the scenes.

    Args:
        root: where the folders of all passes are.
        folders: their names, by pass.
        pass_name: the pass.

    Raises:
        PairsError: The folder does not exist; the message names the passes that do.
    """
    folder = root / folders[str(pass_name)]
    if not folder.is_dir():
        present = [name for name, other in folders.items() if (root / other).is_dir()]
        advice = f"choose the pass {' or '.join(present)}, or unpack it" if present else "unpack it"
        raise PairsError(f"{folder} does not exist; expected the pass {pass_name}: {advice}")
    return folder


def pictures(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by their name without suffix.

    Raises:
        PairsError: The folder does not exist or contains none, or two differ only in their suffix.
    """
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "does not exist"
        raise PairsError(f"{folder} {found}; expected a folder of pictures: unpack it")
    files = by_stem(list_files(folder, PICTURE_SUFFIXES))
    if not files:
        raise PairsError(
            f"{folder} contains no picture; expected some, with suffixes of "
            f"{' '.join(PICTURE_SUFFIXES)}: unpack them"
        )
    return files


def next_frames(frames: Mapping[str, Path]) -> Iterator[tuple[str, Path, Path]]:
    """Yield name, picture and next picture of numbered frames in their order.

    Raises:
        PairsError: A number is missing between two frames, or there are fewer than two frames.
    """
    if len(frames) == 1:
        (only,) = frames.values()
        raise PairsError(
            f"{only} is the only picture in its folder; expected at least two frames: restore the "
            "others"
        )
    for (name, one), (other, two) in itertools.pairwise(frames.items()):
        if other != following(name):
            raise PairsError(
                f"{one} has no {following(name)}.* beside it, the second image of its pair; "
                "expected consecutive frames: restore it"
            )
        yield name, one, two


def second_image(images: Mapping[str, Path], name: str, one: Path) -> Path:
    """Return the picture that follows another one.

    Raises:
        PairsError: There is none.
    """
    if following(name) not in images:
        raise PairsError(
            f"{one} has no {following(name)}.* beside it, the second image of its pair; expected "
            "both: restore it or remove the image"
        )
    return images[following(name)]


def following(name: str) -> str:
    """Return the name of the next frame: ``frame_0010`` of ``frame_0009``."""
    return re.sub(r"\d+$", lambda digits: str(int(digits[0]) + 1).zfill(len(digits[0])), name)
