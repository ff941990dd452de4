"""The colour scale of a sequence: one magnitude for full saturation in all its frames."""

import numpy as np

from engine.flow.colour import LEAST_SCALE
from engine.types import Array

# Histogram of magnitudes: bins of 2 %, from 1/16 px to 16384 px.
_BINS_PER_OCTAVE = 32
_LOWEST, _OCTAVES = -4, 18


def three_digits(scale: float) -> float:
    """Return a scale as legends and summaries print it, so that ``--scale`` repeats it exactly."""
    return float(f"{scale:.3g}")


class RunningScale:
    """A percentile of all magnitudes of a sequence so far, of constant memory.

    It settles after a few frames, so the colours of a sequence do not flicker.

    Attributes:
        counts: of the magnitudes so far, by size, int64; a later sequence may go on with them.
    """

    def __init__(self, *, percentile: float = 99, least: float = LEAST_SCALE) -> None:
        """Start a sequence.

        Args:
            percentile: share of the magnitudes, in percent, that the scale covers.
            least: smallest scale in pixels, so that the noise of still scenes stays pale.
        """
        self._share, self._least = percentile / 100, least
        self.counts = np.zeros(_OCTAVES * _BINS_PER_OCTAVE, np.int64)

    def update(self, magnitudes: Array) -> float:
        """Add the magnitudes of a frame in pixels, NaN where unknown; return the scale."""
        known = np.maximum(magnitudes[np.isfinite(magnitudes)], np.float32(2.0**_LOWEST))
        bins = (np.log2(known) - _LOWEST) * _BINS_PER_OCTAVE
        last = len(self.counts) - 1
        self.counts += np.bincount(np.minimum(bins.astype(np.intp), last), minlength=last + 1)
        covered = np.searchsorted(np.cumsum(self.counts), self._share * self.counts.sum())
        return max(self._least, 2 ** ((int(covered) + 1) / _BINS_PER_OCTAVE + _LOWEST))
