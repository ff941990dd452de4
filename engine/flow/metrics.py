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
# VIPER (Richter et al., "Playing for Benchmarks", ICCV 2017), adopted by Spring: 100 thresholds of
# i / 20 px with weights 1 - (i - 1) / 100, for i = 1 to 100.
WAUC_PIXELS = 5.0
WAUC_STEPS = 100
# The networks compute flow at a quarter of the resolution; values in between are interpolated.
SAMPLE_STEP = 4


def endpoint_error(flow: Array, truth: Array) -> NDArray[np.float64]:
    """Return the length of the difference of two flows at each pixel: (..., H, W) float64."""
    return motion(flow.astype(np.float64) - truth)


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
    return float(100 * is_outlier(error, motion(truth)[valid]).mean())


def motion(flow: Array) -> NDArray[np.float64]:
    """Return the length of a flow at each pixel: (..., H, W) float64."""
    x, y = (flow[..., i].astype(np.float64) for i in (0, 1))
    return np.asarray(np.sqrt(x * x + y * y))  # several times as fast as hypot


def is_outlier(error: Array, true_motion: Array) -> NDArray[np.bool_]:
    """Return where an error is above 3 px and above 5 % of the true motion; arrays of one shape."""
    return np.asarray((error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * true_motion))


def wauc_score(error: Array) -> NDArray[np.float64]:
    """Return each pixel's part, 0 to 1, in the weighted area under the curve (WAUC).

    The curve is the share of pixels whose error does not exceed a threshold, for thresholds up to
    5 px; its area, weighted so that small thresholds count most, is 100 times the mean of these
    scores. The n largest thresholds have n (n + 1) / 2 of the 5050 parts of all weights.

    Args:
        error: end-point errors, pixels, of any shape.
    """
    first = np.clip(np.ceil(error * (WAUC_STEPS / WAUC_PIXELS)), 1, WAUC_STEPS + 1)
    reached = WAUC_STEPS + 1 - first
    return np.asarray(reached * (reached + 1) / (WAUC_STEPS * (WAUC_STEPS + 1)), np.float64)
