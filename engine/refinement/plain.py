"""Variational refinement in numpy: the method, for reading and where the kernel is not compiled.

The flow is moved to where the gradients of both images agree and the flow is smooth, the "+v" of
the FlowNet paper (Fischer et al., arXiv 1504.06852). The energy and its minimisation are those of
Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for Warping" (ECCV 2004),
with three changes: constraints are divided by their gradient (Zimmer et al., IJCV 2011), the flow
is smoothed less across edges of the first image, and brightness constancy is left out, as it adds
nothing and does not hold when the light changes. It makes small errors smaller and leaves large
ones.

``kernels/variational.cpp`` and ``kernels/refinement.cpp`` are the same in C++,
``engine/web/page/refinement.js`` in JavaScript.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.refinement import patches
from engine.types import Array

# Chosen on 26 pairs of public data sets (docs/experiments.md).
SMOOTHNESS: Final = np.float32(1.7)  # its weight, relative to that of the images
EDGE: Final = np.float32(20.0)  # grey levels: an edge of as many halves the smoothness across it
LEAST_EDGE: Final = np.float32(0.02)  # share of the smoothness that is left across any edge
NOISE: Final = np.float32(0.1)  # grey levels: weaker second derivatives count less
LEAST: Final = np.float32(0.001)  # of both penalties, sqrt(x^2 + LEAST^2), in pixels
STAY: Final = np.float32(1e-6)  # weight of the flow so far: without neighbours and edges it stays
RELAXATION: Final = np.float32(1.95)  # of successive over-relaxation, which converges below 2
SWEEPS: Final = 8
# Each round warps the second image by the flow so far, and is linear from there.
HALF_ROUNDS: Final = 3
ROUNDS: Final = 1
RESOLUTIONS: Final = 3  # of the search for patches: the whole one, half of it and a quarter
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601


def refined(
    first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a refined flow: at half the resolution, where it is cheap, then at the whole one.

    Args:
        first: the first image, (H, W, 3) uint8 RGB.
        second: the second image, of the same shape.
        flow: from the first to the second image, (H, W, 2) float32 in pixels, x then y.

    Returns:
        A new array of the flow's shape and type.
    """
    ones, twos = ([_grey(image)] for image in (first, second))
    while len(ones) < RESOLUTIONS:
        ones.append(_halved(ones[-1]))
        twos.append(_halved(twos[-1]))
    one, half_one, *_ = ones
    two, half_two, *_ = twos
    planes = np.array(flow.transpose(2, 0, 1), order="C")
    planes += patches.changes(ones, twos, planes)
    before = np.stack([_halved(plane) / 2 for plane in planes])
    after = before
    for _ in range(HALF_ROUNDS):
        after = _round(half_one, half_two, after)
    height, width = one.shape
    # A pixel has half as many of the halved image.
    planes += np.stack([_doubled(plane, height, width) for plane in 2 * (after - before)])
    for _ in range(ROUNDS):
        planes = _round(one, two, planes)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _grey(image: NDArray[np.uint8]) -> Array:
    red, green, blue = image.astype(np.float32).transpose(2, 0, 1)
    grey: Array = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return grey


def _round(first: Array, second: Array, flow: Array) -> Array:
    """Return the flow, (2, H, W), of less energy after warping once."""
    equations = _equations(first, second, flow)
    refined = flow.copy()
    height, width = first.shape
    colours = np.add.outer(np.arange(height), np.arange(width)) % 2
    for _ in range(SWEEPS):
        for colour in (0, 1):  # of a checkerboard: a pixel's neighbours are of the other one
            _relax(refined, equations, colours == colour)
    return refined


def _relax(flow: Array, equations: dict[str, Array], chosen: NDArray[np.bool_]) -> None:
    """Update the chosen pixels of the flow in place, x first."""
    x, y = flow
    mixed = equations["mixed"]
    for axis, (own, other) in enumerate(((x, y), (y, x))):
        sums = _neighbours(own, equations["beside"], equations["below"])
        solved = equations["right"][axis] + sums - mixed * other
        change = solved * equations["scale"][axis] - own
        own[chosen] += RELAXATION * change[chosen]


def _equations(first: Array, second: Array, flow: Array) -> dict[str, Array]:
    """Return each pixel's equations: what its flow, given its neighbours', solves.

    Smoothness draws it towards its neighbours' flow with the weights ``beside`` (to the right) and
    ``below``; the images draw it to where their gradients are equal.
    """
    moved = _warped(second, flow)
    along_x, along_y = _derivatives((first + moved) / 2)
    change_x, change_y = _derivatives(moved - first)
    xx, _ = _derivatives(along_x)
    xy, yy = _derivatives(along_y)
    # Each constraint relative to its gradient: a distance in pixels.
    share_x = 1 / (xx**2 + xy**2 + NOISE**2)
    share_y = 1 / (xy**2 + yy**2 + NOISE**2)
    weight = 1 / np.sqrt(change_x**2 * share_x + change_y**2 * share_y + LEAST**2)
    share_x, share_y = weight * share_x, weight * share_y
    a = share_x * xx**2 + share_y * xy**2 + STAY
    b = share_x * xx * xy + share_y * xy * yy
    c = share_x * xy**2 + share_y * yy**2 + STAY
    x, y = flow
    right_x = a * x + b * y - (share_x * xx * change_x + share_y * xy * change_y)
    right_y = b * x + c * y - (share_x * xy * change_x + share_y * yy * change_y)
    beside, below = _smoothness(first, flow)
    total = _neighbours(np.ones_like(first), beside, below)
    return {
        "beside": beside,
        "below": below,
        "mixed": b,
        "scale": np.stack((1 / (a + total), 1 / (c + total))),
        "right": np.stack((right_x, right_y)),
    }


def _smoothness(image: Array, flow: Array) -> tuple[Array, Array]:
    """Return the weights between each pixel and its neighbours to the right and below."""
    squares = sum(part**2 for plane in flow for part in _derivatives(plane))
    weights = SMOOTHNESS / np.sqrt(squares + LEAST**2)
    beside, below = np.zeros_like(image), np.zeros_like(image)
    beside[:, :-1] = (weights[:, :-1] + weights[:, 1:]) / 2 * _across(np.diff(image, axis=1))
    below[:-1] = (weights[:-1] + weights[1:]) / 2 * _across(np.diff(image, axis=0))
    return beside, below


def _across(difference: Array) -> Array:
    share: Array = 1 / (1 + (difference / EDGE) ** 2) + LEAST_EDGE
    return share


def _neighbours(values: Array, beside: Array, below: Array) -> Array:
    """Return the weighted sum of each pixel's four neighbours."""
    sums = np.zeros_like(values)
    sums[:, 1:] += beside[:, :-1] * values[:, :-1]
    sums[:, :-1] += beside[:, :-1] * values[:, 1:]
    sums[1:] += below[:-1] * values[:-1]
    sums[:-1] += below[:-1] * values[1:]
    return sums


def _derivatives(plane: Array) -> tuple[Array, Array]:
    """Return central differences along x and y; beyond the border its pixels are repeated."""
    padded = np.pad(plane, 1, mode="edge")
    return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2


def _warped(image: Array, flow: Array) -> Array:
    """Return the image at where the flow leads, bilinear; beyond the border it is repeated."""
    height, width = image.shape
    x = np.arange(width, dtype=np.float32) + flow[0]
    y = np.arange(height, dtype=np.float32)[:, np.newaxis] + flow[1]
    x = np.fmin(np.fmax(x, 0), np.float32(width - 1))  # 0 for NaN
    y = np.fmin(np.fmax(y, 0), np.float32(height - 1))
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    share, down = x - left.astype(np.float32), y - top.astype(np.float32)
    upper = image[top, left] + share * (image[top, right] - image[top, left])
    lower = image[below, left] + share * (image[below, right] - image[below, left])
    moved: Array = upper + down * (lower - upper)
    return moved


def _halved(plane: Array) -> Array:
    """Return means of 2x2 pixels; where a side is odd, its last row or column counts twice."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    sums: Array = (even[::2, ::2] + even[::2, 1::2]) + (even[1::2, ::2] + even[1::2, 1::2])
    return sums / np.float32(4)


def _doubled(plane: Array, height: int, width: int) -> Array:
    """Return a plane at twice the resolution, bilinear."""
    for length in (height, width):
        padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        near, before, after = padded[1:-1], padded[:-2], padded[2:]
        both = np.stack((3 * near + before, 3 * near + after), axis=1) / np.float32(4)
        plane = both.reshape(-1, plane.shape[1])[:length].T
    return plane
