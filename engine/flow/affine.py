"""Affine motion between two images: robust fits, composition, and its sum with a flow.

A motion is a (2, 3) float64 matrix A: the point p = (x, y) of the first image is at A (x, y, 1) in
the second, in pixels; the centre of the first pixel is (0, 0).
"""

import numpy as np
from numpy.typing import NDArray

from engine.types import Flow

Affine = NDArray[np.float64]
Points = NDArray[np.float64]

IDENTITY: Affine = np.eye(2, 3)

# A fit of more points is no better.
_MOST_POINTS = 2048
_ROUNDS = 8
# Rows of a flow that are computed at once: their temporary arrays stay in the CPU's cache.
_ROWS = 32
# Deviations below this many pixels are as good as none.
_EXACT = 0.5


def fit_affine(points: Points, moved: Points) -> Affine:
    """Return the motion that most points share.

    Least squares with the weights of Geman and McClure, 1 / (1 + (r / s)^2)^2, in 8 rounds: s is
    the median deviation r of the round before, the first of which is from the median translation.
    On real pairs it was better than least trimmed squares and RANSAC.

    Args:
        points: (N, 2) in the first image, x then y; at least three, not on one line. Points that
            are not finite are left out.
        moved: (N, 2), where they are in the second image.

    Returns:
        The identity if fewer than three points are finite.
    """
    every = -(-len(points) // _MOST_POINTS)
    points, moved = points[::every], moved[::every]
    finite = np.isfinite(points).all(axis=1) & np.isfinite(moved).all(axis=1)
    points, moved = points[finite], moved[finite]
    if len(points) < 3:
        return IDENTITY.copy()
    motion = translation(*np.median(moved - points, axis=0))
    homogeneous, moved = np.stack([*points.T, np.ones(len(points))]), np.ascontiguousarray(moved.T)
    ridge = 1e-9 * len(points) * np.eye(3)  # for points on one line
    for _ in range(_ROUNDS):
        x, y = moved - motion @ homogeneous
        squares = x * x + y * y
        scale = max(float(np.median(squares)), _EXACT**2)
        weighted = homogeneous / (1 + squares / scale) ** 2
        motion = np.linalg.solve(weighted @ homogeneous.T + ridge, weighted @ moved.T).T
    return motion


def affine_motion(flow: Flow, *, step: int = 1) -> Affine:
    """Return the motion that most pixels of a flow (H, W, 2) share; see `fit_affine`.

    Args:
        flow: in pixels, x then y; pixels that are not finite are left out.
        step: only every ``step``-th row and column is read.
    """
    points = grid(flow.shape[0], flow.shape[1], step)
    return fit_affine(points, points + flow[::step, ::step].reshape(-1, 2))


def grid(height: int, width: int, step: int) -> Points:
    """Return the points (N, 2), x then y, of every ``step``-th row and column."""
    rows, columns = np.mgrid[:height:step, :width:step]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)


def translation(x: float, y: float) -> Affine:
    """Return the motion of all points by (x, y)."""
    return np.array([[1, 0, x], [0, 1, y]], np.float64)


def composed(later: Affine, earlier: Affine) -> Affine:
    """Return the motion of ``earlier`` followed by ``later``."""
    motion: Affine = later[:, :2] @ earlier
    motion[:, 2] += later[:, 2]
    return motion


def inverse(motion: Affine) -> Affine:
    """Return the motion from the second image to the first.

    Raises:
        numpy.linalg.LinAlgError: The motion maps the plane to a line.
    """
    linear = np.linalg.inv(motion[:, :2])
    return np.column_stack([linear, -linear @ motion[:, 2]])


def moved_points(motion: Affine, points: Points) -> Points:
    """Return where points (N, 2) are in the second image."""
    x, y = points.T
    (a, b, c), (d, e, f) = motion  # no matrix product: see `add_affine`
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def are_inside(points: Points, height: int, width: int) -> NDArray[np.bool_]:
    """Return which points (N, 2) are between the pixels of an image."""
    x, y = points.T
    inside: NDArray[np.bool_] = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return inside


def add_affine(flow: Flow, motion: Affine) -> None:
    """Turn the flow to an aligned image into the flow to the image itself, in place.

    The aligned image has at p what the second image has at A p. A point p of the first image that
    is at p + f in the aligned one is therefore at A (p + f) in the second: its flow is
    A (p + f) - p = (A p - p) + L f, where L is the linear part of A.

    Args:
        flow: (H, W, 2) in pixels, x then y, C-contiguous.
        motion: from the first to the second image.
    """
    height, width = flow.shape[:2]
    change = motion - IDENTITY
    # As complex numbers x + iy, along whose axis numpy is fast: L f = p f + q conj(f). A matrix
    # product would occupy OpenBLAS's threads, which then wait actively beside the inference.
    vectors = flow.view(np.complex64)[..., 0]
    (a, b), (c, d) = motion[:, :2]
    p, q = complex(a + d, c - b) / 2, complex(a - d, c + b) / 2
    along_x, along_y, constant = change[0] + 1j * change[1]
    row = (np.arange(width) * along_x).astype(np.complex64)
    column = (np.arange(height) * along_y + constant).astype(np.complex64)[:, np.newaxis]
    for top in range(0, height, _ROWS):
        part = vectors[top : top + _ROWS]
        if (p, q) != (1, 0):
            part[...] = p * part + q * part.conj()
        part += row
        part += column[top : top + _ROWS]
