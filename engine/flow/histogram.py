"""A histogram of magnitudes with logarithmic bins: percentiles of a sequence in constant memory."""

import numpy as np
from numpy.typing import NDArray

from engine.types import Array

# Bins of 2.2 % from 1/256 to 16384 px. The first takes smaller magnitudes too, another larger ones.
_BINS_PER_OCTAVE = 32
_LOWEST, _OCTAVES = -8, 22


class MagnitudeHistogram:
    """Counts magnitudes in pixels; values that are not finite do not count.

    Attributes:
        counts: how many are in each bin, int64.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.counts = np.zeros(_OCTAVES * _BINS_PER_OCTAVE + 1, np.int64)

    def __add__(self, other: "MagnitudeHistogram") -> "MagnitudeHistogram":
        """Return the histogram of the magnitudes of both."""
        both = MagnitudeHistogram()
        np.add(self.counts, other.counts, out=both.counts)
        return both

    def add(self, magnitudes: Array) -> None:
        """Count an array of magnitudes."""
        finite = magnitudes[np.isfinite(magnitudes)]
        known = np.maximum(finite, 2.0**_LOWEST, dtype=np.float32)  # twice as fast as float64
        bins = (np.log2(known) - _LOWEST) * _BINS_PER_OCTAVE
        last = len(self.counts) - 1
        self.counts += np.bincount(np.minimum(bins, last).astype(np.intp), minlength=last + 1)

    def octaves(self, lowest: int) -> NDArray[np.int64]:
        """Return the counts below 2**lowest px, of each octave from there, and from 16384 px on."""
        starts = np.arange(lowest - _LOWEST, _OCTAVES + 1) * _BINS_PER_OCTAVE
        return np.asarray(np.add.reduceat(self.counts, np.append(0, starts)))

    def bin_of(self, share: float) -> tuple[float, float]:
        """Return both ends of the first bin with which at least ``share`` of all is covered."""
        covered = int(np.searchsorted(np.cumsum(self.counts), share * self.counts.sum()))
        low, high = (2 ** (at / _BINS_PER_OCTAVE + _LOWEST) for at in (covered, covered + 1))
        return low, high

    def percentile(self, share: float) -> float:
        """Return a percentile, exact to 1.1 %; below 1/256 px, 0."""
        low, high = self.bin_of(share)
        return 0.0 if low == 2.0**_LOWEST else float(np.sqrt(low * high))
