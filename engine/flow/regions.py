"""Errors by region, as published benchmarks report them.

Sums over pixels are added pair by pair, so that a data set is evaluated without keeping its flows.
"""

import numpy as np
from numpy.typing import NDArray

from engine.flow.metrics import endpoint_error, is_outlier, motion, wauc_score
from engine.flow.validity import Mask, known
from engine.types import Array

# Limits in pixels between slow, medium and fast true motion: MPI-Sintel (Butler et al., ECCV 2012,
# http://sintel.is.tue.mpg.de/results).
SLOW, FAST = 10.0, 40.0
REGIONS = (
    "all", "matched", "unmatched", "s0-10", "s10-40", "s40+", "background", "foreground"
)  # fmt: skip
# What `error_sums` sums, and `scores` divides by the number of pixels.
SUMS = "pixels", "epe", "px1", "px3", "px5", "fl", "wauc"
_PERCENTAGES = SUMS[2:]

# Scores of a region by the names in SUMS; None: the region has no pixel.
Scores = dict[str, float | None]


def error_sums(
    flow: Array,
    truth: Array,
    *,
    candidates: Array | None = None,
    occluded: Mask | None = None,
    foreground: Mask | None = None,
) -> NDArray[np.float64]:
    """Return the sums of a pair's errors in each region; those of several pairs may be added.

    Only pixels with true flow count. Without a mask, the regions that it divides have no pixels.

    Args:
        flow: (H, W, 2), pixels.
        truth: like ``flow``; NaN where it is unknown.
        candidates: (K, H, W, 2), where a pixel has several true vectors: the error is the smallest
            to any, the class of motion follows their mean length, and 5 % is of their largest, as
            in Spring's evaluation (Mehl et al., CVPR 2023).
        occluded: (H, W) bool, True where a pixel is not visible in the second image.
        foreground: (H, W) bool, True on moving objects.

    Returns:
        (len(REGIONS), len(SUMS)): the number of pixels, the sum of their end-point errors, the
        numbers of pixels with an error above 1, 3 and 5 px, the number of outliers
        (`engine.flow.metrics.is_outlier`), and the sum of `engine.flow.metrics.wauc_score`.
    """
    valid = known(truth)
    vectors = truth[np.newaxis] if candidates is None else candidates
    lengths, errors = (  # 0 where the truth is unknown: NaN times 0 would be NaN
        np.where(valid, each, 0) for each in (motion(vectors), endpoint_error(flow, vectors))
    )
    length, error = lengths.mean(axis=0), errors.min(axis=0)
    slow, fast = length < SLOW, length > FAST
    nowhere = np.zeros_like(valid)
    hidden, visible = (nowhere, nowhere) if occluded is None else (occluded, ~occluded)
    moving, still = (nowhere, nowhere) if foreground is None else (foreground, ~foreground)
    places = valid, visible, hidden, slow, ~slow & ~fast, fast, still, moving
    outlier = is_outlier(error, lengths.max(axis=0))
    values = (
        np.ones_like(error), error, error > 1, error > 3, error > 5, outlier, wauc_score(error)
    )  # fmt: skip
    weights = np.stack([(place & valid).ravel() for place in places]).astype(np.float64)
    return np.asarray(weights @ np.stack([value.ravel() for value in values]).T)


def scores(sums: NDArray[np.float64]) -> dict[str, Scores]:
    """Return the scores of each region from the sums over all pairs.

    Returns:
        For each of `REGIONS`: ``pixels``; ``epe`` in pixels; ``px1``, ``px3``, ``px5`` and ``fl``,
        the percentages of pixels with an error above 1, 3 and 5 px and of outliers; ``wauc``, 0 to
        100.
    """
    return {name: _scores(row) for name, row in zip(REGIONS, sums, strict=True)}


def _scores(row: NDArray[np.float64]) -> Scores:
    pixels, *values = map(float, row)
    found: Scores = {"pixels": int(pixels)}
    for name, value in zip(SUMS[1:], values, strict=True):
        scale = 100 if name in _PERCENTAGES else 1
        found[name] = scale * value / pixels if pixels else None
    return found
