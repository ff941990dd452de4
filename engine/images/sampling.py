"""Bilinear samples of an image between its pixels, by OpenCV or NumPy, with the same result."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.types import Array

Coordinates = NDArray[np.float32]
# Samples one image (H, W) or (H, W, C) at x and y, which are inside of it.
Sampler = Callable[[Array, Coordinates, Coordinates], Array]

# NumPy's arrays of one band of rows stay in the CPU's cache.
_BAND_PIXELS = 1 << 15
# OpenCV holds the coordinates of an image's pixels in 16 bits.
_OPENCV_SIDE = 32766


def sampled(image: Array, x: Coordinates, y: Coordinates) -> Array:
    """Return the image at x and y, bilinearly, in its own type.

    By OpenCV if it is installed and interpolates as exactly as NumPy (version 5 does), several
    times as fast.

    Args:
        image: (H, W) or (H, W, C); integers are rounded to the nearest.
        x: (h, w), from 0 to W - 1.
        y: (h, w), from 0 to H - 1.
    """
    fast = max(*image.shape[:2], *x.shape) <= _OPENCV_SIDE
    fast &= image.dtype in (np.uint8, np.float32)
    sample = (opencv_sampler() if fast else None) or sample_with_numpy
    return sample(image, x, y)


def interpolated(image: Array, x: Array, y: Array) -> NDArray[np.float32]:
    """Return an image at points, bilinearly; outside it at the nearest point of its border.

    Args:
        image: (H, W) or (H, W, C).
        x: in pixels, any shape.
        y: in pixels, the same shape.

    Returns:
        The shape of ``x``, and C.
    """
    height, width = image.shape[:2]
    columns = np.clip(x, 0, width - 1, dtype=np.float32)
    rows = np.clip(y, 0, height - 1, dtype=np.float32)
    left, top = columns.astype(np.intp), rows.astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    # Exact: the difference of a float32 and an integer next to it.
    across = np.subtract(columns, left, dtype=np.float32)
    down = np.subtract(rows, top, dtype=np.float32)
    if image.ndim == 3:
        across, down = across[..., np.newaxis], down[..., np.newaxis]
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[below, left] * (1 - across) + image[below, right] * across
    values: NDArray[np.float32] = upper * (1 - down) + lower * down
    return values


def sample_with_numpy(image: Array, x: Coordinates, y: Coordinates) -> Array:
    """Return the image at x and y, bilinear, in its own type.

    Args:
        image: (H, W) or (H, W, C).
        x: (h, w), from 0 to W - 1.
        y: (h, w), from 0 to H - 1.
    """
    result = np.empty((*x.shape, *image.shape[2:]), image.dtype)
    rows = max(1, _BAND_PIXELS // x.shape[1])
    for top in range(0, len(x), rows):
        band = slice(top, top + rows)
        values = interpolated(image, x[band], y[band])
        result[band] = values if image.dtype.kind == "f" else np.rint(values)
    return result


@functools.cache
def opencv_sampler() -> Sampler | None:
    """Return OpenCV's sampler; None if it is missing or rounds coordinates.

    OpenCV 4 rounds them to 1/32 px, as do some element types and numbers of channels in 5.
    """
    try:
        import cv2
    except ImportError:
        return None

    def plane(image: Array, x: Coordinates, y: Coordinates) -> Array:
        found: Array = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found

    def sample(image: Array, x: Coordinates, y: Coordinates) -> Array:
        if image.ndim == 2 or image.shape[2] == 3:
            return plane(np.ascontiguousarray(image), x, y)
        planes = np.moveaxis(image, -1, 0)
        return np.stack([plane(np.ascontiguousarray(one), x, y) for one in planes], axis=-1)

    return sample if _is_exact(sample) else None


def _is_exact(sample: Sampler) -> bool:
    """Return whether a sampler keeps 1/128 px: 5/128 of the way from 0 to 250 is 9.8."""
    stripes = np.tile(np.array([0, 250], np.float32), (8, 32))
    x = np.tile(np.arange(0, 64, 2, dtype=np.float32) + np.float32(5 / 128), (8, 1))
    colours = np.dstack([stripes] * 3)
    return all(
        np.abs(sample(image, x, np.zeros_like(x)) - expected).max() < 1e-3
        for image, expected in (
            (stripes, 9.765625), (colours, 9.765625),
            (stripes.astype(np.uint8), 10), (colours.astype(np.uint8), 10),
        )
    )  # fmt: skip
