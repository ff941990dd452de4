"""How much moves in a flow: range, mean and distribution of the magnitudes."""

from dataclasses import dataclass

import numpy as np

from engine.flow.histogram import MagnitudeHistogram
from engine.flow.metrics import motion
from engine.flow.validity import known
from engine.types import Flow

# The first class of magnitude ends at 2 to the power of this, in pixels; each other one spans an
# octave.
_FIRST_END = -2


@dataclass(frozen=True)
class FlowStatistics:
    """Magnitudes of one flow, or of several whose statistics were added.

    Attributes:
        pixels: number of pixels.
        known: number of pixels with known flow.
        least: smallest known magnitude in pixels; infinite if none is known.
        largest: largest known magnitude in pixels; minus infinite if none is known.
        total: sum of the known magnitudes.
        magnitudes: histogram of the known magnitudes.
    """

    pixels: int
    known: int
    least: float
    largest: float
    total: float
    magnitudes: MagnitudeHistogram

    @classmethod
    def of(cls, flow: Flow) -> "FlowStatistics":
        """Return the statistics of a flow, (H, W, 2) in pixels, NaN where it is unknown."""
        lengths = motion(flow)[known(flow)]
        magnitudes = MagnitudeHistogram()
        magnitudes.add(lengths)
        return cls(
            pixels=flow.shape[0] * flow.shape[1],
            known=lengths.size,
            least=float(lengths.min(initial=np.inf)),
            largest=float(lengths.max(initial=-np.inf)),
            total=float(lengths.sum()),
            magnitudes=magnitudes,
        )

    def __add__(self, other: "FlowStatistics") -> "FlowStatistics":
        """Return the statistics of the pixels of both."""
        return FlowStatistics(
            self.pixels + other.pixels,
            self.known + other.known,
            min(self.least, other.least),
            max(self.largest, other.largest),
            self.total + other.total,
            self.magnitudes + other.magnitudes,
        )

    @property
    def mean(self) -> float | None:
        """Mean known magnitude in pixels; None if none is known."""
        return self.total / self.known if self.known else None

    @property
    def unknown_share(self) -> float:
        """Share of pixels with unknown flow, 0 to 1."""
        return 1 - self.known / self.pixels

    def classes(self) -> list[tuple[str, float]]:
        """Return name and share of the known pixels of each class of magnitude.

        Classes double: 0 to 0.25 px, 0.25 to 0.5 px, 0.5 to 1 px and so on; a magnitude on a limit
        belongs to the class above. Empty ones beyond the smallest and largest magnitude are left
        out.
        """
        counts = self.magnitudes.octaves(_FIRST_END)
        filled = np.flatnonzero(counts)
        if not filled.size:
            return []
        return [
            (_class_name(index, len(counts) - 1), float(counts[index]) / self.known)
            for index in range(filled[0], filled[-1] + 1)
        ]


def _class_name(index: int, last: int) -> str:
    high = 2.0 ** (index + _FIRST_END)
    low = high / 2 if index else 0
    return f"{low:g} px or more" if index == last else f"{low:g} to {high:g} px"
