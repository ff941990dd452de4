"""The colour wheel and its scale in pixels, in a corner of a picture of flow."""

import numpy as np

from engine.flow.colour import color_wheel_legend
from engine.images.files import import_opencv
from engine.types import Image

# Width of the wheel: a fifth of the picture, and beyond 160 pixels an eighth.
_SMALLEST, _LARGE = 40, 160
_LEAST_LINE = 14  # height of the text with its margins, legible
_MARGIN = 4


class Legend:
    """Draws the same legend into pictures of one size; pictures too small for it stay as they are.

    The wheel's rim is at ``max_magnitude``, whose value is written below it.
    """

    def __init__(self, height: int, width: int) -> None:
        """Draw the wheel for pictures of this size.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
        """
        self._cv2 = import_opencv()
        side = min(height, width)
        size = min(side // 5, max(_LARGE, side // 8))
        self._fits = size >= _SMALLEST
        self._line = max(_LEAST_LINE, size // 5)
        side = size + 2 * _MARGIN
        height, width = side + self._line + _MARGIN, side
        # Even, as videos store colours at half resolution.
        self._panel = np.full((height + height % 2, width + width % 2, 3), 255, np.uint8)
        if self._fits:
            wheel = slice(_MARGIN, _MARGIN + size)
            self._panel[wheel, wheel] = color_wheel_legend(size)

    def panel(self, max_magnitude: float) -> Image | None:
        """Return the legend, of even height and width; None for pictures too small for it."""
        if not self._fits:
            return None
        panel = self._panel.copy()
        text, font = f"{max_magnitude:.3g} px", self._cv2.FONT_HERSHEY_SIMPLEX
        scale = self._cv2.getFontScaleFromHeight(font, self._line * 3 // 4)
        (width, _), _ = self._cv2.getTextSize(text, font, scale, 1)
        shrink = min(1, (panel.shape[1] - 2 * _MARGIN) / width)
        scale, width = scale * shrink, round(width * shrink)
        corner = (panel.shape[1] - width) // 2, panel.shape[0] - _MARGIN - self._line // 8
        self._cv2.putText(panel, text, corner, font, scale, (0, 0, 0), 1, self._cv2.LINE_AA)
        return panel

    def draw(self, picture: Image, max_magnitude: float) -> None:
        """Draw the legend into the bottom right corner of (H, W, 3) uint8 RGB, in place."""
        panel = self.panel(max_magnitude)
        if panel is not None:
            picture[-panel.shape[0] :, -panel.shape[1] :] = panel
