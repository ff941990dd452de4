"""The colour scale of a sequence: one magnitude for full saturation in all its frames."""

from engine.flow.colour import LEAST_SCALE
from engine.flow.histogram import MagnitudeHistogram
from engine.types import Array


def three_digits(scale: float) -> float:
    """Return a scale as legends and summaries print it, so that ``--scale`` repeats it exactly."""
    return float(f"{scale:.3g}")


class RunningScale(MagnitudeHistogram):
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
        super().__init__()

    def update(self, magnitudes: Array) -> float:
        """Add the magnitudes of a frame in pixels, NaN where unknown; return the scale."""
        self.add(magnitudes)
        _, high = self.bin_of(self._share)
        return max(self._least, high)
