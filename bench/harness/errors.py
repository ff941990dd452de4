"""The errors of one row's flows, added pair by pair."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.pair import Pair
from engine.flow.figures import over_pixels
from engine.flow.metrics import endpoint_error
from engine.flow.regions import error_sums, scores
from engine.types import Flow


class Errors:
    """Errors against the true flow, and the distance to a reference.

    Attributes:
        first_flow: of the first pair, for a picture.
    """

    def __init__(self) -> None:
        self.first_flow: Flow | None = None
        self._sums: list[NDArray[np.float64]] = []
        self._distance = self._pixels = 0.0

    def add(
        self, pairs: Sequence[Pair], flows: Sequence[Flow], reference: Sequence[Flow] | None
    ) -> None:
        """Add the flows of some pairs; ``reference``: what fp32 PyTorch computed for them."""
        if self.first_flow is None:
            self.first_flow = flows[0]
        for pair, flow in zip(pairs, flows, strict=True):
            sums = error_sums(
                flow,
                pair.flow,
                candidates=pair.candidates,
                occluded=pair.occluded,
                foreground=pair.foreground,
            )
            self._sums.append(sums)
        for flow, other in zip(flows, reference or (), strict=reference is not None):
            distance = endpoint_error(flow, other)
            self._distance += float(distance.sum())
            self._pixels += distance.size

    def to_json(self) -> dict[str, Any]:
        """Return the errors against the true flow.

        Returns:
            ``epe`` in pixels and ``fl_all`` in per cent over the pixels of all pairs;
            ``epe_by_pair``; ``scores``: `engine.flow.regions.scores`, among them the error by true
            motion. None where no pixel has true flow.
        """
        every = over_pixels(self._sums)
        return {
            "epe": every["all"]["epe"],
            "epe_by_pair": [scores(sums)["all"]["epe"] for sums in self._sums],
            "fl_all": every["all"]["fl"],
            "scores": every,
        }

    @property
    def distance(self) -> float | None:
        """Mean distance to the reference in pixels; None without one."""
        return self._distance / self._pixels if self._pixels else None
