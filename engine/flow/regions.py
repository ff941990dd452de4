"""Errors by region, as published benchmarks report them.

Sums over pixels are added pair by pair, so that a data set is evaluated without keeping its flows.
"""

import math

import numpy as np
from numpy.typing import NDArray

from engine.flow.metrics import endpoint_error, is_outlier, motion, wauc_score
from engine.flow.validity import Mask, known
from engine.types import Array

# Limits in pixels between slow, medium and fast true motion: MPI-Sintel (Butler et al., ECCV 2012,
# http://sintel.is.tue.mpg.de/results).
SLOW, FAST = 10.0, 40.0
BY_MOTION = "s0-10", "s10-40", "s40+"
REGIONS = "all", "matched", "unmatched", *BY_MOTION, "background", "foreground"
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
    if candidates is None:
        length = longest = motion(truth)
        error = endpoint_error(flow, truth)
    else:
        lengths = motion(candidates)
        length, longest = lengths.mean(axis=0), lengths.max(axis=0)
        error = endpoint_error(flow, candidates).min(axis=0)
    table = _tabulated(
        error,
        unknown=~known(truth),
        hidden=0 if occluded is None else occluded,
        moving=0 if foreground is None else foreground,
        speed=np.add(length >= SLOW, length > FAST, dtype=np.intp),
        outlier=is_outlier(error, longest),
    )
    nothing = np.zeros(len(SUMS))
    by_hidden = nothing, nothing
    if occluded is not None:
        by_hidden = table.sum(axis=(1, 2))
    by_moving = nothing, nothing
    if foreground is not None:
        by_moving = table.sum(axis=(0, 2))
    every = table.sum(axis=(0, 1))
    return np.stack((every.sum(axis=0), *by_hidden, *every, *by_moving))


def _tabulated(
    error: NDArray[np.float64],
    *,
    unknown: Mask,
    hidden: Mask | int,
    moving: Mask | int,
    speed: NDArray[np.intp],
    outlier: Mask,
) -> NDArray[np.float64]:
    """Return the sums over the pixels that are not ``unknown``: (2, 2, 3, len(SUMS)).

    The first axes are ``hidden``, ``moving`` and ``speed`` (0 to 2), (H, W) each like all others.
    """
    severity = sum((error > limit).astype(np.intp) for limit in (1, 3, 5))
    cells = np.zeros(error.shape, np.intp)
    shape = 2, 2, 3, 4, 2
    for values, size in zip((hidden, moving, speed, severity, outlier), shape, strict=True):
        cells *= size
        cells += values
    cells[unknown] = math.prod(shape)  # one more cell, which is left out

    def totals(weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        values = None if weights is None else weights.ravel()
        found = np.bincount(cells.ravel(), values, minlength=math.prod(shape) + 1)
        return found[:-1].reshape(shape).astype(np.float64)

    counts = totals()
    sums = (
        counts, totals(error), counts[..., 1:, :], counts[..., 2:, :], counts[..., 3:, :],
        counts[..., 1:], totals(wauc_score(error)),
    )  # fmt: skip
    return np.stack([each.sum(axis=(3, 4)) for each in sums], axis=-1)


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
