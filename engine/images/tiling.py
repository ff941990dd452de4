"""Overlapping tiles along an axis, with weights that blend them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segment:
    """The part of an axis that a tile covers.

    Attributes:
        start: first pixel.
        weights: float32, one a pixel; over all segments they sum to 1 at each pixel.
    """

    start: int
    weights: NDArray[np.float32]

    @property
    def pixels(self) -> slice:
        """The pixels of the axis."""
        return slice(self.start, self.start + len(self.weights))


def segments(length: int, tile: int, overlap: int, divisor: int) -> list[Segment]:
    """Cover an axis with tiles of one length, as few as the overlap allows, evenly spread.

    Neighbours are blended over their whole overlap by raised cosines: a pixel counts less the
    nearer it is to the border of its tile, where the network sees less around it, and the blend has
    no edge.

    Args:
        length: of the axis, a multiple of ``divisor``.
        tile: length of a tile, a multiple of ``divisor``; an axis that is shorter is one tile.
        overlap: least number of pixels that neighbours share, a multiple of ``divisor`` and at most
            half a tile.
        divisor: every tile starts at a multiple of it, so that the network's coarse grids are those
            of the whole image.
    """
    if length <= tile:
        return [Segment(0, np.ones(length, np.float32))]
    count = -(-(length - overlap) // (tile - overlap))
    steps = (length - tile) // divisor
    # Rounded down: consecutive starts differ by the mean step rounded up at most.
    starts = [index * steps // (count - 1) * divisor for index in range(count)]
    ends = [start + tile for start in starts]
    shared = [end - start for end, start in zip(ends, starts[1:], strict=False)]
    raw = [
        _ramp(tile, before) * _ramp(tile, after)[::-1]
        for before, after in zip([0, *shared], [*shared, 0], strict=True)
    ]
    total = np.zeros(length)
    for start, weights in zip(starts, raw, strict=True):
        total[start : start + tile] += weights
    return [
        Segment(start, (weights / total[start : start + tile]).astype(np.float32))
        for start, weights in zip(starts, raw, strict=True)
    ]


def _ramp(length: int, rise: int) -> NDArray[np.float64]:
    """Return weights that rise from 0 to 1 over the first ``rise`` pixels."""
    weights = np.ones(length)
    weights[:rise] = np.sin(np.pi / 2 * (np.arange(rise) + 0.5) / max(rise, 1)) ** 2
    return weights
