"""Colours of flow from a table: those of ``flow_to_color``, about 30 times as fast, for video."""

import numpy as np

from engine.flow.colour import flow_to_color
from engine.images.files import import_opencv
from engine.types import Flow, Image

# The table covers components of up to 2 scales in 512 steps each, so that colours inside the wheel
# are off by 3 levels at most, less than a video codec changes them. Larger flow is computed.
_STEPS, _REACH = 512, 2
_BAND = 64  # rows at a time: temporary arrays stay in the CPU's cache


class ColorTable:
    """Colours flow; create it once and share it between frames."""

    def __init__(self) -> None:
        """Compute the table.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
        """
        self._cv2 = import_opencv()
        axis = (np.arange(_STEPS, dtype=np.float32) + 0.5) * 2 * _REACH / _STEPS - _REACH
        grid = np.stack(np.meshgrid(axis, axis), axis=-1)
        self._table = flow_to_color(grid, max_magnitude=1)

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
        cells = flow * np.float32(_STEPS / (2 * _REACH * max_magnitude))
        cells += np.float32(_STEPS / 2 - 0.5)
        self._cv2.remap(self._table, cells, None, self._cv2.INTER_NEAREST, dst=out)
        last = _STEPS - 1
        if not (cells.min() >= 0 and cells.max() <= last):  # false for NaN
            outside = ~((cells >= 0) & (cells <= last)).all(axis=-1)
            vectors = flow[outside][np.newaxis]
            out[outside] = flow_to_color(vectors, max_magnitude=max_magnitude)[0]
