"""How much moves in a flow: range, mean and distribution of the magnitudes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.flow.metrics import motion
from engine.flow.validity import known
from engine.types import Flow

# Limits in pixels between the classes of magnitude, of which each spans twice the one before.
_LIMITS = np.array([0, *(2.0**power for power in range(-2, 15)), np.inf])


@dataclass(frozen=True)
class FlowStatistics:
    """Magnitudes of one flow, or of several whose statistics were added.

    Attributes:
        pixels: number of pixels.
        known: number of pixels with known flow.
        least: smallest known magnitude in pixels; infinite if none is known.
        largest: largest known magnitude in pixels; minus infinite if none is known.
        total: sum of the known magnitudes.
        counts: number of known pixels in each class of magnitude.
    """

    pixels: int
    known: int
    least: float
    largest: float
    total: float
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, flow: Flow) -> "FlowStatistics":
        """Return the statistics of a flow, (H, W, 2) in pixels, NaN where it is unknown."""
        lengths = motion(flow)[known(flow)]
        counts = np.histogram(lengths, _LIMITS)[0] if lengths.size else np.zeros(len(_LIMITS) - 1)
        return cls(
            pixels=flow.shape[0] * flow.shape[1],
            known=lengths.size,
            least=float(lengths.min(initial=np.inf)),
            largest=float(lengths.max(initial=-np.inf)),
            total=float(lengths.sum()),
            counts=counts.astype(np.int64),
        )

    def __add__(self, other: "FlowStatistics") -> "FlowStatistics":
        """Return the statistics of the pixels of both."""
        return FlowStatistics(
            self.pixels + other.pixels,
            self.known + other.known,
            min(self.least, other.least),
            max(self.largest, other.largest),
            self.total + other.total,
            self.counts + other.counts,
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
        filled = np.flatnonzero(self.counts)
        if not filled.size:
            return []
        return [
            (_class_name(index), float(self.counts[index]) / self.known)
            for index in range(filled[0], filled[-1] + 1)
        ]


def _class_name(index: int) -> str:
    low, high = _LIMITS[index : index + 2]
    return f"{low:g} to {high:g} px" if np.isfinite(high) else f"{low:g} px or more"
