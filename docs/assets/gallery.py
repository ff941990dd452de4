"""Make the pictures of docs/gallery.md: photographs in motion, and what `flow` makes of them.

python docs/assets/gallery.py docs/assets
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from engine.cli.main import main as flow
from engine.images import read_image, write_image
from engine.types import Image

HEIGHT, WIDTH = 384, 512
FRAMES, SHOWN = 14, "08"


def main() -> None:
    """Write the frames, run the commands of the page and keep one picture of each."""
    assets = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = folder / "frames"
        write_frames(frames)
        for view in ("output", "overlay", "arrows"):
            run("folder", frames, f"--{view}", folder / view)
            keep(folder / view / f"{SHOWN}.png", assets / f"gallery-{view}.jpg")
        run("folder", frames, "--side-by-side", assets / "gallery.gif", "--fps", "12", "--force")


def run(*arguments: str | Path) -> None:
    """Run one command of `flow`."""
    if flow([str(argument) for argument in arguments]):
        raise SystemExit(1)


def write_frames(folder: Path) -> None:
    """Write pictures: a camera that pans and zooms, a cat that goes right, a face that rises."""
    folder.mkdir()
    table, cat, face = map(np.asarray, (data.coffee(), data.chelsea(), data.astronaut()))
    for index in range(FRAMES):
        at = 230 - 2.5 * index, 180.0 + index
        image = placed(table, (250, 200), at, 1.5 + 0.006 * index, 0)
        for picture, centre, at, size, turn, radius in (
            (cat, (165, 140), (110 + 7.0 * index, 260 - 2.0 * index), 0.8, -1.5 * index, 90),
            (face, (225, 110), (400 - 1.0 * index, 300 - 7.0 * index), 0.7, 0.4 * index, 75),
        ):
            disc = np.zeros((HEIGHT, WIDTH), np.uint8)
            middle = [round(side * 16) for side in at]  # in sixteenths of a pixel
            cv2.circle(disc, middle, radius * 16, 1, -1, shift=4)
            over = placed(picture, centre, at, size, turn)
            image = np.where(disc[..., np.newaxis] > 0, over, image)
        write_image(folder / f"{index:02}.png", image)


def placed(
    picture: Image, centre: tuple[float, float], at: tuple[float, float], size: float, turn: float
) -> Image:
    """Return a frame with the picture's point ``centre`` at ``at``, scaled and turned."""
    matrix = cv2.getRotationMatrix2D(centre, turn, size)
    matrix[:, 2] += np.subtract(at, centre)
    size_of_frame, border = (WIDTH, HEIGHT), cv2.BORDER_REFLECT
    return np.asarray(cv2.warpAffine(picture, matrix, size_of_frame, borderMode=border))


def keep(picture: Path, jpeg: Path) -> None:
    """Write a picture as one for the web."""
    cv2.imwrite(str(jpeg), read_image(picture)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
