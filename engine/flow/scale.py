"""The colour scale: one magnitude for full saturation in all pictures that belong together."""

from engine.flow.colour import LEAST_SCALE
from engine.flow.histogram import MagnitudeHistogram


def three_digits(scale: float) -> float:
    """Return a scale as legends and summaries print it, so that ``--scale`` repeats it exactly."""
    return float(f"{scale:.3g}")


def color_scale(
    seen: MagnitudeHistogram, *, percentile: float = 99, least: float = LEAST_SCALE
) -> float:
    """Return the scale in pixels that covers a share of the magnitudes.

    With the magnitudes of a sequence so far it settles after a few frames, so the colours do not
    flicker.

    Args:
        seen: the magnitudes.
        percentile: share of them, in percent, that the scale covers.
        least: smallest scale in pixels, so that the noise of still scenes stays pale.
    """
    _, high = seen.bin_of(percentile / 100)
    return max(least, high)
