"""What is written for each flow of a sequence: a colour video, colour pictures, flow files."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from engine.flow.colour_table import ColorTable
from engine.flow.formats import write_flow
from engine.flow.legend import Legend
from engine.flow.scale import RunningScale
from engine.images import write_image
from engine.types import Image
from engine.video.frame import FrameSource
from engine.video.pipeline import FlowFrame
from engine.video.writer import write_video

# Writes one flow of a sequence; called in order.
Output = Callable[[FlowFrame], None]


class Painter:
    """Colours the flows of a sequence by one scale.

    Attributes:
        scale: magnitude in pixels of full saturation, for the last flow.
    """

    def __init__(self, height: int, width: int, *, scale: float | None, legend: bool) -> None:
        """Prepare pictures of this size.

        Args:
            height: of the flows.
            width: of the flows.
            scale: magnitude in pixels that gets full saturation; None: a percentile of all flows
                so far, see `RunningScale`.
            legend: whether to draw the colour wheel into a corner.
        """
        self.scale = scale or 0.0
        self._running = RunningScale() if scale is None else None
        self._table = ColorTable()
        self._legend = Legend(height, width) if legend else None
        self._last: tuple[FlowFrame, Image] | None = None

    def paint(self, step: FlowFrame) -> Image:
        """Return a picture of a flow, (H, W, 3) uint8 RGB; the same one if asked again."""
        if self._last is None or self._last[0] is not step:
            if self._running is not None:
                self.scale = self._running.update(step.magnitudes)
            picture = self._table.color(step.flow, self.scale)
            if self._legend is not None:
                self._legend.draw(picture, self.scale)
            self._last = step, picture
        return self._last[1]


@contextlib.contextmanager
def color_video(
    path: Path, source: FrameSource, painter: Painter, *, threads: int
) -> Iterator[Output]:
    """Yield the output that writes a video, see `write_video`; its times begin at 0."""
    size = source.height, source.width
    with write_video(
        path, size, rate=source.rate, time_base=source.time_base, threads=threads
    ) as video:
        start: Fraction | None = None

        def write(step: FlowFrame) -> None:
            nonlocal start
            start = step.first.time if start is None else start
            video.write(painter.paint(step), step.first.time - start)

        yield write


def color_pictures(folder: Path, painter: Painter) -> Output:
    """Return the output that writes ``<name of the first frame>.png`` into a folder."""
    return lambda step: write_image(_file(folder, step, ".png"), painter.paint(step))


def flow_files(folder: Path, suffix: str) -> Output:
    """Return the output that writes ``<name of the first frame><suffix>`` into a folder."""
    return lambda step: write_flow(_file(folder, step, suffix), step.flow)


def _file(folder: Path, step: FlowFrame, suffix: str) -> Path:
    folder.mkdir(exist_ok=True)  # with the first file, so that a failure before leaves nothing
    return folder / f"{step.first.name}{suffix}"
