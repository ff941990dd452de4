"""Colours of flow from a table: those of ``flow_to_color`` to 1 level, many times as fast."""

import math

import numpy as np

from engine.flow.colour import wheel_colors
from engine.flow.validity import UNKNOWN_THRESHOLD, known
from engine.images.files import import_opencv
from engine.types import Flow, Image

# Cells over the magnitude up to the scale, and over the direction. From the middle of a cell to its
# edges, colours change by half a level along the magnitude and, as hues differ by up to 64 levels
# between the wheel's 54 steps, by less than half a level along the direction.
_RADII, _ANGLES = 256, 54 * 72
# A hair more than half a cell: magnitudes equal to the scale belong to the last cell inside it.
_TO_CELL = 0.501
_BAND = 64  # rows at a time: temporary arrays stay in the CPU's cache


class ColorTable:
    """Colours flow; create it once and share it between frames."""

    def __init__(self) -> None:
        """Compute the table.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
        """
        self._cv2 = import_opencv()
        turns = (np.arange(_ANGLES, dtype=np.float32) + np.float32(0.5)) / np.float32(_ANGLES)
        # One row more: all that is beyond the scale.
        radii = (np.arange(_RADII + 1, dtype=np.float32) + np.float32(0.5)) / np.float32(_RADII)
        self._table = wheel_colors(turns, radii[:, None])

    def color(self, flow: Flow, max_magnitude: float) -> Image:
        """Return a colour-coded picture of a flow, (H, W, 3) uint8 RGB.

        Args:
            flow: (H, W, 2) float32 in pixels, x then y. Unknown flow is black.
            max_magnitude: magnitude in pixels that gets full saturation.
        """
        picture: Image = np.empty((*flow.shape[:2], 3), np.uint8)
        for top in range(0, len(flow), _BAND):
            band = slice(top, top + _BAND)
            self._look_up(flow[band], max_magnitude, picture[band])
        return picture

    def _look_up(self, flow: Flow, max_magnitude: float, out: Image) -> None:
        cv2 = self._cv2
        radii, angles = cv2.cartToPolar(*cv2.split(flow))  # radians from 0 to 2 pi
        all_known = radii.max() <= UNKNOWN_THRESHOLD  # false for NaN
        rows = np.minimum(radii * np.float32(_RADII / max_magnitude), _RADII + 1)
        rows -= np.float32(_TO_CELL)
        columns = angles * np.float32(_ANGLES / (2 * math.pi))
        columns -= np.float32(0.5)
        nearest, edge = cv2.INTER_NEAREST, cv2.BORDER_REPLICATE
        cv2.remap(self._table, columns, rows, nearest, dst=out, borderMode=edge)
        if not all_known:
            out[~known(flow)] = 0
