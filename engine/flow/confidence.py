"""How far a flow can be trusted, from the images and the flow back, without the truth.

Bruhn and Weickert, "A confidence measure for variational optic flow methods", 2006, and others rank
pixels by how well the images match; the forward-backward test ranks them better. Both are distances
in pixels here, so that they add.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.flow.occlusion import mismatch
from engine.flow.warp import checked_flow, lands_inside, warp
from engine.images.validate import check_same_kind, checked_image
from engine.types import Array, ImageLike

# Of 17x17 pixels: larger windows blur edges of the motion, smaller ones let noise match by chance.
_RADIUS = 8
# Levels per pixel that count as contrast where there is none, about that of a camera's noise.
_LEAST_CONTRAST = 4


def confidence(
    image1: ImageLike, image2: ImageLike, flow: ArrayLike, backward: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Return how far to trust a flow at each pixel: 1 / (1 + p^2 + d^2), from 0 to 1.

    p is how far the images are from matching: the mean difference of brightness of the first image
    and the second at (x, y) + flow, divided by the first image's mean gradient plus 4 levels per
    pixel, both over 17x17 pixels. d is how far ``backward`` misses the way back, |f + b| (see
    ``occlusion``), 0 without ``backward``. Both are in pixels, and either alone at 1 px halves the
    confidence. It falls with each of them. It is a rank more than a probability: sort by it, or
    choose a threshold on data with known flow.

    Args:
        image1: the first image, as for ``infer``; of any order of channels.
        image2: the second image.
        flow: (H, W, 2) or (N, H, W, 2) floats in pixels, x then y, from the first to the second.
        backward: the same shape, from the second to the first; ranks errors better.

    Returns:
        (H, W) or (N, H, W) float32. 0 where the flow leaves the image or is unknown.

    Raises:
        InputError: An argument has another type or shape.
    """
    first, second = checked_image(image1, "image1"), checked_image(image2, "image2")
    check_same_kind(first, second, ("image1", "image2"))
    forward = checked_flow(flow, "flow")
    inside = lands_inside(forward)
    squares = _photometric(first, warp(second, forward), inside) ** 2
    if backward is not None:
        squares += mismatch(forward, backward)
    with np.errstate(over="ignore"):
        result = np.asarray(1 / (1 + squares), np.float32)
    result[~(inside & np.isfinite(result))] = 0
    return result


def _photometric(first: Array, warped: Array, inside: Array) -> Array:
    """Return the distance p of ``confidence``, in pixels; NaN where no pixel near is inside."""
    scale = np.float32(1 if first.dtype == np.uint8 else 255)
    grey = first.mean(axis=-1, dtype=np.float32) * scale
    difference = np.abs(np.subtract(first, warped, dtype=np.float32)).mean(axis=-1) * scale
    contrast = _gradient(grey) + np.float32(_LEAST_CONTRAST)
    with np.errstate(invalid="ignore"):
        ratio: Array = _window_sum(difference * inside) / _window_sum(contrast * inside)
    return ratio


def _gradient(grey: Array) -> Array:
    """Return the length of the gradient by central differences, levels per pixel."""
    around = [(0, 0)] * (grey.ndim - 2) + [(1, 1)] * 2
    padded = np.pad(grey, around, mode="edge")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    length: Array = np.sqrt(across * across + down * down) / 2
    return length


def _window_sum(values: Array) -> Array:
    """Return the sum over the window around each pixel, cut at the border."""
    for axis in (-2, -1):
        sums = np.cumsum(values, axis=axis, dtype=np.float64)
        sums = np.concatenate((np.zeros_like(sums.take([0], axis)), sums), axis)
        at, last = np.arange(values.shape[axis]), values.shape[axis]
        after, before = np.minimum(at + _RADIUS + 1, last), np.maximum(at - _RADIUS, 0)
        values = sums.take(after, axis) - sums.take(before, axis)
    return values
