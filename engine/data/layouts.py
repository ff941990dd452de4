"""How the folders of published data sets look, to name the one that a folder holds."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.data.pair import PairsError

# Files and folders that only this data set has. A folder has the layout if one of them exists.
# Chairs is not among them: its name also stands for a folder of frames.
_MARKS = {
    "sintel": ("training/clean", "training/final", "training/albedo", "test/clean", "test/final"),
    "kitti2015": ("training/image_2", "testing/image_2"),
    "kitti2012": ("training/colored_0", "training/image_0", "testing/colored_0", "testing/image_0"),
    "things": ("frames_cleanpass", "frames_finalpass"),
    "hd1k": ("hd1k_input", "hd1k_challenge"),
    "chairssdhom": ("data/train/t0", "data/test/t0"),
    "middlebury": ("other-data", "eval-data"),
    "spring": ("train/*/frame_left", "test/*/frame_left", "train/*/frame_right"),
}
_HINTS = _MARKS | {"chairs": ("*_img1.*", "data/*_img1.*")}
_MOST_SUBFOLDERS = 50  # that are looked into
PICTURES = "a folder of pictures, or a word such as 'synthetic'"


def check_layout(name: str, folder: Path, layout: str) -> None:
    """Check that a folder looks like a data set.

    Args:
        name: of the data set.
        folder: where it should be.
        layout: what is expected there, for the message.

    Raises:
        PairsError: The folder does not exist, is a file, is empty or looks different; the message
            names the data set that it looks like.
    """
    check_folder(folder, f"a folder with {name}" if name in _MARKS else PICTURES)
    if name not in _MARKS or _has(folder, _MARKS[name]):
        return
    found = "does not look like" if any(folder.iterdir()) else "is empty and does not look like"
    raise PairsError(
        f"{folder} {found} {name}; expected {layout}: give the folder that contains "
        f"{_MARKS[name][0].partition('/')[0]}{layout_hint(folder)}"
    )


def check_folder(folder: Path, expected: str) -> None:
    """Check that a folder exists.

    Raises:
        PairsError: It does not, or is a file.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise PairsError(f"{folder} {found}; expected {expected}: check the path")


def layout_hint(folder: Path) -> str:
    """Return the data set that a folder, its parent or a subfolder looks like, as a sentence."""
    for place in _nearby(folder):
        for name, marks in _HINTS.items():
            if _has(place, marks):
                return f". {place} looks like {name}: use {name}:{place}"
    return ""


def _nearby(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.absolute().parents[:2]
    below = (path for path in sorted(folder.iterdir()) if path.is_dir())
    for _, path in zip(range(_MOST_SUBFOLDERS), below, strict=False):
        yield path


def _has(folder: Path, marks: Iterable[str]) -> bool:
    return any(any(folder.glob(mark)) for mark in marks)
