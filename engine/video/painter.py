"""The colours of the flows of a sequence, by one scale."""

from engine.flow.colour_table import ColorTable
from engine.flow.histogram import MagnitudeHistogram
from engine.flow.scale import color_scale
from engine.types import Image
from engine.video.pipeline import FlowFrame


class Painter:
    """Colours the flows of a sequence; several views share it, so that they share its scale.

    Attributes:
        height: of the flows.
        width: of the flows.
        scale: magnitude in pixels of full saturation, for the last flow.
    """

    def __init__(self, height: int, width: int, *, scale: float | None) -> None:
        """Start a sequence.

        Args:
            height: of the flows.
            width: of the flows.
            scale: magnitude in pixels that gets full saturation; None: a percentile of all flows
                so far, see `color_scale`.
        """
        self.height, self.width = height, width
        self.scale = scale or 0.0
        self._seen = MagnitudeHistogram() if scale is None else None
        self._table = ColorTable()
        self._step: FlowFrame | None = None
        self._painted: dict[int, Image] = {}

    def paint(self, step: FlowFrame, *, every: int = 1) -> Image:
        """Return the colours of a flow, (H, W, 3) uint8 RGB; do not change it.

        Args:
            step: a flow; ask for all that is needed of one before the next.
            every: N; only every N-th row and column is coloured, so the picture is N times
                smaller.
        """
        self._begin(step)
        if every not in self._painted:
            self._painted[every] = self._table.color(step.thinned(every), self.scale)
        return self._painted[every]

    def state(self) -> list[int]:
        """Return what the scale has learned so far, for `resume`."""
        return [] if self._seen is None else self._seen.counts.tolist()

    def resume(self, state: list[int]) -> None:
        """Go on with the scale of an interrupted run."""
        if self._seen is not None:
            self._seen.counts[:] = state

    def _begin(self, step: FlowFrame) -> None:
        if step is self._step:
            return
        self._step, self._painted = step, {}
        if self._seen is not None:
            self._seen.add(step.magnitudes)
            self.scale = color_scale(self._seen)
