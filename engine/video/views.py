"""How a flow is shown: as colours, beside or over its first frame, or as arrows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from engine.flow.metrics import motion
from engine.images.files import import_opencv
from engine.types import Flow, Image
from engine.video.painter import Painter
from engine.video.pipeline import FlowFrame

# Arrows: their number along the longer side, at most and at least, and the least number of pixels
# from one to the next between the two.
_MOST_SPACES, _LEAST_SPACES, _LEAST_SPACE = 40, 4, 24
# Their length, in spaces, for a vector of the magnitude of full colour.
_REACH = 1.5
# Vectors, relative to that magnitude: shorter ones get no arrow, longer ones one of this length.
_SHORTEST, _LONGEST = 0.02, 2


class View(ABC):
    """Draws images of flows.

    Attributes:
        height: of the images.
        width: of the images.
        painter: colours the flows.
        smooth: whether the images have no texture.
    """

    smooth = False

    def __init__(self, painter: Painter, *, every: int = 1) -> None:
        """Draw with the colours of ``painter``.

        Args:
            painter: of the sequence.
            every: N; only every N-th row and column is coloured, which is faster. In a 4:2:0 video,
                which stores colours at half resolution, 2 looks like 1.
        """
        self.height, self.width = painter.height, painter.width
        self.painter, self._every = painter, every
        self._cv2 = import_opencv()

    @abstractmethod
    def draw(self, step: FlowFrame) -> Image:
        """Return a new image, uint8 RGB."""

    def _colors(self, step: FlowFrame) -> Image:
        """Return the colours in the size of the flow; they may be the painter's own."""
        colors = self.painter.paint(step, every=self._every)
        if self._every == 1:
            return colors
        resized: Image = self._cv2.resize(colors, (self.painter.width, self.painter.height))
        return resized


class Colors(View):
    """The colours alone: ``every`` times smaller than the flow, for the encoder to enlarge."""

    smooth = True

    def draw(self, step: FlowFrame) -> Image:
        """Return the colours."""
        return self.painter.paint(step, every=self._every).copy()


class SideBySide(View):
    """The first frame, and the colours on its right."""

    def __init__(self, painter: Painter, *, every: int = 1) -> None:
        """Draw with the colours of ``painter``; see `View`."""
        super().__init__(painter, every=every)
        self.width *= 2

    def draw(self, step: FlowFrame) -> Image:
        """Return the frame and the colours."""
        return np.concatenate([step.first.image, self._colors(step)], axis=1)


class Overlay(View):
    """The first frame in grey, tinted where something moves."""

    def draw(self, step: FlowFrame) -> Image:
        """Return the frame times the colours."""
        cv2 = self._cv2
        grey = cv2.cvtColor(step.first.image, cv2.COLOR_RGB2GRAY)
        # Lighter, as the colours of black would be black.
        grey = cv2.convertScaleAbs(grey, alpha=0.7, beta=0.3 * 255)
        tinted: Image = cv2.multiply(cv2.merge([grey] * 3), self._colors(step), scale=1 / 255)
        return tinted


class Arrows(View):
    """The first frame with arrows, in the colours of the flow.

    An arrow starts at its pixel and points to where it moves; its length is relative to the scale.
    """

    def draw(self, step: FlowFrame) -> Image:
        """Return the frame with arrows."""
        cv2, image = self._cv2, step.first.image.copy()
        colors = self.painter.paint(step, every=self._every)
        side = max(image.shape[:2])
        space = max(1, side // _MOST_SPACES, min(_LEAST_SPACE, side // _LEAST_SPACES))
        thickness = max(1, space // 12)  # thinner ones are lost in their black outline
        for start, end in self._ends(step.flow, space):
            x, y = start
            color = colors[y // self._every, x // self._every].tolist()
            for tone, width in (((0, 0, 0), thickness + 2), (color, thickness)):
                cv2.arrowedLine(image, start, end, tone, width, cv2.LINE_AA, tipLength=0.3)
        return image

    def _ends(self, flow: Flow, space: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the ends of the arrows, (x, y)."""
        grid = flow[space // 2 :: space, space // 2 :: space] / np.float32(self.painter.scale)
        lengths = motion(grid)
        for row, column in np.argwhere((lengths >= _SHORTEST) & (lengths < np.inf)):
            x, y = (int(index) * space + space // 2 for index in (column, row))
            vector = grid[row, column] * (_REACH * space * min(1, _LONGEST / lengths[row, column]))
            yield (x, y), (round(x + float(vector[0])), round(y + float(vector[1])))
