"""How a flow is shown: as colours, beside or over its first frame, or as arrows."""

from abc import ABC, abstractmethod

import numpy as np

from engine.images.files import import_opencv
from engine.types import Image
from engine.video.painter import Painter
from engine.video.pipeline import FlowFrame

_SPACING = 40  # arrows along the longer side
_SHORTEST = 0.02  # of the scale: shorter vectors get no arrow


class View(ABC):
    """Draws images of flows.

    Attributes:
        height: of the images.
        width: of the images.
        painter: colours the flows.
    """

    def __init__(self, painter: Painter, *, every: int = 1) -> None:
        """Draw with the colours of ``painter``.

        Args:
            painter: of the sequence.
            every: colour only every so-manieth row and column, which is faster. A video of 4:2:0,
                which stores colours at half resolution, shows no difference to 2.
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

    An arrow starts at its pixel. A vector of the magnitude of full colour has the length of one
    and a half spaces between arrows.
    """

    def draw(self, step: FlowFrame) -> Image:
        """Return the frame with arrows."""
        cv2, image = self._cv2, step.first.image.copy()
        colors = self.painter.paint(step, every=self._every)
        scale, space = self.painter.scale, max(8, max(image.shape[:2]) // _SPACING)
        thickness = max(1, space // 16)
        for y in range(space // 2, image.shape[0], space):
            for x in range(space // 2, image.shape[1], space):
                vector = step.flow[y, x] * (1.5 * space / scale)
                if not np.hypot(*vector) >= _SHORTEST * 1.5 * space:  # false for NaN
                    continue
                end = round(x + float(vector[0])), round(y + float(vector[1]))
                color = colors[y // self._every, x // self._every].tolist()
                for tone, width in (((0, 0, 0), thickness + 2), (color, thickness)):
                    cv2.arrowedLine(image, (x, y), end, tone, width, cv2.LINE_AA, tipLength=0.3)
        return image
