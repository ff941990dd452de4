"""Cuts: where the second of two frames shows another scene."""

import numpy as np

from engine.flow.warp import lands_inside, warp
from engine.types import Array, Flow, Image

# Of 62 pairs of one scene, 26 of them also with the light changed by half, none was below this
# correlation; of 68 pairs of two scenes, two were above it. Nor was any of the latter below this
# difference of colours, where pairs without texture are, whose correlation is that of noise.
_LEAST_CORRELATION = 0.5
_LEAST_COLOUR_CHANGE = 0.1
# Levels in a bin of a colour histogram, for each channel.
_LEVELS = 32


def is_cut(first: Image, second: Image, flow: Flow) -> bool:
    """Return whether a scene ends with the first frame.

    It does if the flow does not explain the second frame and the colours differ too. Either alone
    has other causes: motion that the network cannot estimate, or a change of light.

    Args:
        first: (H, W, 3) uint8 RGB.
        second: the same shape.
        flow: (H, W, 2) from the first to the second, in pixels.
    """
    return (
        warped_correlation(first, second, flow) < _LEAST_CORRELATION
        and colour_change(first, second) > _LEAST_COLOUR_CHANGE
    )


def warped_correlation(first: Image, second: Image, flow: Flow) -> float:
    """Return the correlation of the first frame's brightness with the warped second's.

    The photometric error after warping, as a coefficient that does not depend on contrast and
    light: 1 if the flow explains all, 0 if nothing, or if an image is flat.
    """
    one, two = _grey(first), _grey(second)
    inside = lands_inside(flow)
    pairs = np.stack([one[inside], warp(two, flow)[inside]]).astype(np.float64)
    if pairs.size == 0:
        return 0.0
    pairs -= pairs.mean(axis=1, keepdims=True)
    (a, covariance), (_, b) = pairs @ pairs.T
    return float(covariance / np.sqrt(a * b)) if a * b > 0 else 0.0


def colour_change(first: Image, second: Image) -> float:
    """Return half the sum of the differences of two colour histograms: 0 for the same, up to 1."""
    one, two = _colours(first), _colours(second)
    return float(np.abs(one - two).sum() / 2)


def _grey(image: Image) -> Array:
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)  # BT.601


def _colours(image: Image) -> Array:
    """Return the share of pixels in each bin of the three channels together."""
    bins = 256 // _LEVELS
    red, green, blue = (image[..., channel].ravel() // _LEVELS for channel in range(3))
    index = (red.astype(np.intp) * bins + green) * bins + blue
    return np.bincount(index, minlength=bins**3) / index.size
