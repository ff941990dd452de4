"""Draw the pictures of docs/using-flow.md, from the flow of the default network.

python -m training.synthetic --pairs 24 --size 384x512 --seed 3000000100 -o generated
python docs/assets/using_flow.py generated/00018_img1.ppm generated/00018_img2.ppm docs/assets
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import engine
from engine.images import read_image
from engine.types import Flow, Image

POINT = 96, 271  # x, y of the point that is shown in both images
STEP = 32  # pixels between arrows
GAP = 8
BLACK, RED = (0, 0, 0), (255, 60, 60)


def main() -> None:
    """Write direction.jpg and using-flow.jpg."""
    path1, path2, folder = sys.argv[1:]
    image1, image2 = read_image(path1), read_image(path2)
    flow, backward = engine.infer(image1, image2, backward=True)
    write(Path(folder) / "direction.jpg", direction(image1, image2, flow), 1)
    occluded = image1.copy()
    occluded[engine.occlusion(flow, backward)] = RED
    trust = engine.confidence(image1, image2, flow, backward)
    panels = [
        ("image1", image1),
        ("warp(image2, flow)", engine.warp(image2, flow)),
        ("occlusion(flow, backward), red", occluded),
        ("confidence, from 0 (black) to 1", np.dstack([np.rint(trust * 255)] * 3).astype(np.uint8)),
    ]
    pictures = [titled(picture, title) for title, picture in panels]
    rows = [beside(pictures[start : start + 2]) for start in range(0, len(pictures), 2)]
    write(Path(folder) / "using-flow.jpg", np.vstack(rows), 0.8)


def write(path: Path, picture: Image, scale: float) -> None:
    """Write a picture for the web."""
    small = cv2.resize(picture[..., ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), small, [cv2.IMWRITE_JPEG_QUALITY, 80])


def direction(image1: Image, image2: Image, flow: Flow) -> Image:
    """Return both images, arrows of the flow and one point with its coordinates in each."""
    left, right = (image // 2 + 127 for image in (image1, image2))
    for y in range(STEP // 2, len(flow), STEP):
        for x in range(STEP // 2, flow.shape[1], STEP):
            arrow(left, (x, y), flow[y, x], BLACK, 1)
    x, y = POINT
    u, v = flow[y, x]
    arrow(left, POINT, flow[y, x], RED, 2)
    there = round(x + float(u)), round(y + float(v))
    for picture, at in ((left, POINT), (right, POINT), (right, there)):
        cv2.circle(picture, at, 4, RED, 1 if picture is right and at == POINT else -1, cv2.LINE_AA)
    arrow(right, POINT, flow[y, x], RED, 1)
    for picture in (left, right):
        cv2.arrowedLine(picture, (8, 8), (70, 8), BLACK, 2, cv2.LINE_AA, tipLength=0.15)
        cv2.arrowedLine(picture, (8, 8), (8, 70), BLACK, 2, cv2.LINE_AA, tipLength=0.15)
        text(picture, "x", (76, 14), BLACK)
        text(picture, "y", (14, 80), BLACK)
    return beside(
        [
            titled(left, f"image1: flow[{y}, {x}] = ({u:.1f}, {v:.1f}) px"),
            titled(right, f"image2: ({x}, {y}) is now at ({x + u:.1f}, {y + v:.1f})"),
        ]
    )


def arrow(picture: Image, start: tuple[int, int], vector: Flow, color: object, width: int) -> None:
    """Draw a vector of the flow in its own length."""
    end = round(start[0] + float(vector[0])), round(start[1] + float(vector[1]))
    cv2.arrowedLine(picture, start, end, color, width, cv2.LINE_AA, tipLength=0.25)


def titled(picture: Image, title: str) -> Image:
    """Return a picture below its title."""
    head = np.full((26, picture.shape[1], 3), 255, np.uint8)
    text(head, title, (2, 19), BLACK)
    return np.vstack((head, picture))


def text(picture: Image, words: str, at: tuple[int, int], color: object) -> None:
    """Write words on a picture."""
    cv2.putText(picture, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 1, cv2.LINE_AA)


def beside(pictures: list[Image]) -> Image:
    """Return pictures beside one another, with white between."""
    gap = np.full((len(pictures[0]), GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(row[:-1])


if __name__ == "__main__":
    main()
