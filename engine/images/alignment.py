"""Warping of an image by an affine motion, so that it is aligned with the image before."""

import numpy as np
from numpy.typing import NDArray

from engine.flow.affine import Affine, are_inside, moved_points
from engine.images.sampling import Coordinates, sample_with_numpy
from engine.types import Image

# Pixels from the border of the second image to where nothing of it is left.
_FADE = 32
# Height and width of the squares that are searched for pixels outside.
_CELL = 16

Indices = NDArray[np.intp]


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
    result = np.ascontiguousarray(_warped(second, motion))
    rows, columns = _border_pixels(height, width, motion)
    x, y = _moved(columns.astype(np.float32), rows.astype(np.float32), motion)
    beyond = np.maximum(_beyond(x, width), _beyond(y, height))
    outside = np.flatnonzero(beyond > 0)
    pixels = rows[outside] * width + columns[outside]  # one index is faster than two
    weight = np.minimum(beyond[outside] / _FADE, 1)[:, np.newaxis]
    faded = result.reshape(-1, 3).take(pixels, axis=0).astype(np.float32)
    faded += (first.reshape(-1, 3).take(pixels, axis=0) - faded) * weight
    result.reshape(-1, 3)[pixels] = np.rint(faded)
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
    x = np.arange(image.shape[1], dtype=np.float32)
    y = np.arange(image.shape[0], dtype=np.float32)[:, np.newaxis]
    return sample_with_numpy(image, *_moved(x, y, motion))


def _border_pixels(height: int, width: int, motion: Affine) -> tuple[Indices, Indices]:
    """Return rows and columns of all pixels p for which A p is outside, and of some others."""
    tops, lefts = np.arange(0, height + _CELL, _CELL), np.arange(0, width + _CELL, _CELL)
    y, x = np.meshgrid(np.minimum(tops, height - 1), np.minimum(lefts, width - 1), indexing="ij")
    moved = moved_points(motion, np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64))
    inside = are_inside(moved, height, width).reshape(x.shape)
    # A cell is inside if its corners are.
    cells = inside[:-1, :-1] & inside[1:, :-1] & inside[:-1, 1:] & inside[1:, 1:]
    pixels = cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)[:height, :width]
    rows, columns = np.nonzero(~pixels)
    return rows, columns


def _moved(x: Coordinates, y: Coordinates, motion: Affine) -> tuple[Coordinates, Coordinates]:
    (a, b, c), (d, e, f) = motion.astype(np.float32)
    return a * x + (b * y + c), d * x + (e * y + f)


def _beyond(at: Coordinates, side: int) -> Coordinates:
    """Return the distance to the first or last pixel, positive outside."""
    return np.maximum(-at, at - (side - 1))
