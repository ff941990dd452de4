"""End-point error and outliers of flow fields against ground truth or a reference.

All functions take (..., H, W, 2) floats in pixels and pool over every valid pixel of every pair:
a pair with sparse ground truth counts as much as it has pixels.
"""

import numpy as np
from numpy.typing import NDArray

from engine.types import Array

# KITTI 2015 development kit, devkit/matlab/flow_error.m: an outlier exceeds both limits.
OUTLIER_PIXELS = 3.0
OUTLIER_SHARE = 0.05


def endpoint_error(flow: Array, truth: Array) -> NDArray[np.float64]:
    """Return the length of the difference of two flows at each pixel: (..., H, W) float64."""
    difference = flow.astype(np.float64) - truth
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]), np.float64)


def mean_epe(flow: Array, truth: Array, valid: Array | None = None) -> float | None:
    """Return the mean end-point error over the valid pixels, ``None`` if there are none.

    Args:
        flow: (..., H, W, 2), pixels.
        truth: like ``flow``; any value where it is not valid.
        valid: (..., H, W) bool; ``None``: all pixels.
    """
    error = endpoint_error(flow, truth)
    if valid is not None:
        error = error[valid]
    return float(error.mean()) if error.size else None


def fl_all(flow: Array, truth: Array, valid: Array) -> float | None:
    """Return the percentage of valid pixels wrong by more than 3 px and 5 % of the true length.

    ``None`` if no pixel is valid.
    """
    error = endpoint_error(flow, truth)[valid]
    if not error.size:
        return None
    magnitude = np.hypot(truth[..., 0], truth[..., 1])[valid]
    outlier = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * magnitude)
    return float(100 * outlier.mean())
