"""The colour wheel and its scale in pixels, in a corner of a picture of flow."""

import numpy as np

from engine.flow.colour import color_wheel_legend
from engine.images.files import import_opencv
from engine.types import Image

# Width of the wheel: a fifth of the picture, and beyond 160 pixels an eighth; at least 28 pixels,
# as its directions and a number below it are not legible otherwise.
_SMALLEST, _LARGE = 28, 160
_LEAST_SIDE = 96  # of a picture: in a smaller one the legend would hide too much
# Margins, and height of the text with them: of wheels below 40 pixels, and of others.
_TIGHT, _WIDE = (2, 11), (4, 14)


class Legend:
    """Draws the same legend into pictures of one size.

    The wheel's rim is at ``max_magnitude``, whose value is written below it. Pictures with a side
    below 96 pixels stay as they are.
    """

    def __init__(self, height: int, width: int) -> None:
        """Draw the wheel for pictures of this size.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
        """
        self._cv2 = import_opencv()
        side = min(height, width)
        self._fits = side >= _LEAST_SIDE
        size = max(_SMALLEST, min(side // 5, max(_LARGE, side // 8)))
        self._margin, line = _TIGHT if size < 40 else _WIDE
        self._line = max(line, size // 5)
        side = size + 2 * self._margin
        height, width = side + self._line + self._margin, side
        # Even, as videos store colours at half resolution.
        self._panel = np.full((height + height % 2, width + width % 2, 3), 255, np.uint8)
        if self._fits:
            wheel = slice(self._margin, self._margin + size)
            self._panel[wheel, wheel] = color_wheel_legend(size)

    def panel(self, max_magnitude: float) -> Image | None:
        """Return the legend, of even height and width; None for pictures too small for it."""
        if not self._fits:
            return None
        panel = self._panel.copy()
        digits = ".3g" if max_magnitude < 999.5 else ".0f"
        text, font = f"{max_magnitude:{digits}} px", self._cv2.FONT_HERSHEY_SIMPLEX
        scale = self._cv2.getFontScaleFromHeight(font, self._line * 3 // 4)
        (width, _), _ = self._cv2.getTextSize(text, font, scale, 1)
        shrink = min(1, (panel.shape[1] - 2 * self._margin) / width)
        scale, width = scale * shrink, round(width * shrink)
        corner = (panel.shape[1] - width) // 2, panel.shape[0] - self._margin - self._line // 8
        self._cv2.putText(panel, text, corner, font, scale, (0, 0, 0), 1, self._cv2.LINE_AA)
        return panel

    def draw(self, picture: Image, max_magnitude: float) -> None:
        """Draw the legend into the bottom right corner of (H, W, 3) uint8 RGB, in place."""
        panel = self.panel(max_magnitude)
        if panel is not None:
            picture[-panel.shape[0] :, -panel.shape[1] :] = panel
