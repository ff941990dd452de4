"""End-point error and outliers of flow fields against a truth or a reference.

All functions take flow as (..., H, W, 2) float arrays in pixels and pool over every valid pixel
of every pair, so that a pair with sparse truth weighs as much as it has pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# KITTI 2015's outliers (development kit, devkit/matlab/flow_error.m): both limits are passed.
OUTLIER_PIXELS = 3.0
OUTLIER_SHARE = 0.05


def endpoint_error(flow: Array, truth: Array) -> Array:
    """Length of the difference at each pixel: (..., H, W) float64."""
    difference: Array = flow.astype(np.float64) - truth
    return np.hypot(difference[..., 0], difference[..., 1])


def mean_epe(flow: Array, truth: Array, valid: Array | None = None) -> float | None:
    """Mean end-point error over the valid pixels, ``None`` if there are none.

    Args:
        flow: (..., H, W, 2), pixels.
        truth: like ``flow``; may hold anything where it is not valid.
        valid: (..., H, W) bool; ``None``: all of them.
    """
    error = endpoint_error(flow, truth)
    if valid is not None:
        error = error[valid]
    return float(error.mean()) if error.size else None


def fl_all(flow: Array, truth: Array, valid: Array) -> float | None:
    """Percentage of valid pixels wrong by more than 3 px and by more than 5 % of the truth.

    ``None`` if no pixel is valid.
    """
    error = endpoint_error(flow, truth)[valid]
    if not error.size:
        return None
    magnitude = np.hypot(truth[..., 0], truth[..., 1])[valid]
    outlier = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * magnitude)
    return float(100 * outlier.mean())
