"""Warping of an image by an affine motion, so that it is aligned with the image before."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.flow.affine import Affine, are_inside, moved_points
from engine.images.sampling import interpolated
from engine.types import Image

# Pixels from the border of the second image to where nothing of it is left.
_FADE = 32
# Height and width of the parts that are computed together: intermediate arrays stay in the cache.
_PART = 64, 128


def aligned(first: Image, second: Image, motion: Affine) -> Image:
    """Return the second image as it would be without a motion.

    The pixel p of the result is the second image at A p, interpolated bilinearly. What the second
    image does not show is its border, replicated, which fades into the first image over 32 px:
    there the network sees no motion besides A. With the replicated border alone the error on
    panning pairs is 1.7 times as large; with the first image alone it is 1.1 times as large on
    stereo pairs, where near objects leave the image.

    Args:
        first: (H, W, 3) uint8.
        second: (H, W, 3) uint8.
        motion: from the first to the second image, see `engine.flow.affine`.
    """
    height, width = second.shape[:2]
    result = _warped(second, motion)
    for part in _parts(height, width):
        if not _is_inside(part, second, motion):
            x, y = _moved(part, motion)
            beyond = np.maximum(_beyond(x, width), _beyond(y, height))
            weight = np.clip(beyond / _FADE, 0, 1)[..., np.newaxis]
            result[part] = np.rint(result[part] * (1 - weight) + first[part] * weight)
    return result


def _warped(image: Image, motion: Affine) -> Image:
    try:
        import cv2  # an optional dependency
    except ImportError:
        return warped_by_numpy(image, motion)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = image.shape[1], image.shape[0]
    warped = cv2.warpAffine(image, motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def warped_by_numpy(image: Image, motion: Affine) -> Image:
    """Return what OpenCV's ``warpAffine`` returns, up to one level; it takes 30 times as long."""
    result = np.empty_like(image)
    for part in _parts(*image.shape[:2]):
        result[part] = np.rint(interpolated(image, *_moved(part, motion)))
    return result


Part = tuple[slice, slice]


def _parts(height: int, width: int) -> Iterator[Part]:
    for top in range(0, height, _PART[0]):
        for left in range(0, width, _PART[1]):
            yield slice(top, min(top + _PART[0], height)), slice(left, min(left + _PART[1], width))


def _moved(part: Part, motion: Affine) -> NDArray[np.float32]:
    """Return x and y of A p for the pixels p of a part, (2, h, w)."""
    rows, columns = part
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, np.newaxis]
    return np.stack([a * x + (b * y + c) for a, b, c in motion.astype(np.float32)])


def _is_inside(part: Part, image: Image, motion: Affine) -> bool:
    """Return whether A p is inside an image for all pixels p of a part: for its corners."""
    rows, columns = part
    corners = [[x, y] for x in (columns.start, columns.stop) for y in (rows.start, rows.stop)]
    moved = moved_points(motion, np.array(corners, np.float64))
    return bool(are_inside(moved, *image.shape[:2]).all())


def _beyond(at: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the distance to the first or last pixel, positive outside."""
    return np.maximum(-at, at - (side - 1))
