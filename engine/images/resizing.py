"""Sizes and pixels of images that are made smaller for a network, and of flow made larger again."""

import numpy as np

from engine.images.files import import_opencv
from engine.types import Array


def limited(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return height and width, reduced so that none is above ``longest``; never enlarged."""
    if max(size) <= longest:
        return size
    height, width = (max(1, round(side * longest / max(size))) for side in size)
    return height, width


def resized(image: Array, size: tuple[int, int]) -> Array:
    """Return (H, W, C) at a height and width, in its own type.

    Smaller: the mean over the area of each new pixel; larger: linear between the centres of pixels.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
    """
    if image.shape[:2] == size:
        return image
    cv2 = import_opencv("resizing")
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=mode))
