"""The figures that evaluations print, and their means over pixels and over images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.flow.regions import REGIONS, SUMS, Scores, scores


@dataclass(frozen=True)
class Figure:
    """One of the scores of a flow: ``title (unit)``, explained by ``note``.

    Attributes:
        title: short name.
        unit: px or %.
        note: meaning.
        region: a name in `engine.flow.regions.REGIONS`.
        score: a key of that region's scores.
    """

    title: str
    unit: str
    note: str
    region: str
    score: str

    def of(self, found: Mapping[str, Scores]) -> float | None:
        """Return the figure from the result of `engine.flow.regions.scores`."""
        return found[self.region][self.score]


_BAD = "share of pixels with an error above {} px"
FIGURES = (
    Figure("EPE", "px", "mean end-point error over all pixels", "all", "epe"),
    Figure("1 px", "%", _BAD.format(1), "all", "px1"),
    Figure("3 px", "%", _BAD.format(3), "all", "px3"),
    Figure("5 px", "%", _BAD.format(5), "all", "px5"),
    Figure("Fl-all", "%", "share of pixels wrong by over 3 px and 5 %", "all", "fl"),
    Figure("Fl-bg", "%", "Fl of the background", "background", "fl"),
    Figure("Fl-fg", "%", "Fl of moving objects", "foreground", "fl"),
    Figure("WAUC", "%", "weighted area under the curve of inliers", "all", "wauc"),
    Figure("s0-10", "px", "EPE where the true motion is below 10 px", "s0-10", "epe"),
    Figure("s10-40", "px", "EPE where it is 10 to 40 px", "s10-40", "epe"),
    Figure("s40+", "px", "EPE where it is above 40 px", "s40+", "epe"),
    Figure("matched", "px", "EPE of pixels visible in both images", "matched", "epe"),
    Figure("unmatched", "px", "EPE of the other pixels", "unmatched", "epe"),
    Figure("3 px matched", "%", "KITTI 2012's Out-Noc", "matched", "px3"),
)


def over_pixels(sums: Sequence[NDArray[np.float64]]) -> dict[str, Scores]:
    """Return the scores over the pixels of all images.

    Args:
        sums: `engine.flow.regions.error_sums` of each.
    """
    return scores(sum(sums, start=np.zeros((len(REGIONS), len(SUMS)))))


def over_images(values: Iterable[float | None]) -> float | None:
    """Return the mean of the images' figures, of those that have one; None if none has."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
