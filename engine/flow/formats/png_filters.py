"""Row filters of PNG without a library: https://www.w3.org/TR/png-3/#9Filters."""

import numpy as np
import numpy.typing as npt

from engine.errors import BackendNotInstalledError

_Bytes = npt.NDArray[np.uint8]
_SUB, _UP = 1, 2
# The filters of neighbours on both sides take a tenth of a millisecond for each diagonal, and a
# microsecond for each pixel.
_MOST_DIAGONALS, _MOST_PIXELS = 1 << 13, 1 << 21


def unfiltered(filters: _Bytes, data: _Bytes) -> _Bytes:
    """Undo the row filters (H,) on the bytes of the pixels (H, W, 6).

    Raises:
        BackendNotInstalledError: That would take long without OpenCV.
    """
    if filters.max() <= _UP:
        return _by_rows(filters, data)
    height, width, _ = data.shape
    if height + width > _MOST_DIAGONALS or height * width > _MOST_PIXELS:
        raise BackendNotInstalledError(
            f"a .png of {height}x{width} pixels, filtered as it is, needs OpenCV, which cannot be "
            "imported. Install it: pip install opencv-python-headless."
        )
    return _by_diagonals(filters, data)


def _by_rows(filters: _Bytes, data: _Bytes) -> _Bytes:
    """Undo filters that need the left or the upper neighbour, one row at a time."""
    out = data.copy()
    for y, kind in enumerate(filters):
        if kind == _SUB:
            np.cumsum(data[y], axis=0, dtype=np.uint8, out=out[y])
        elif kind == _UP and y:
            out[y] += out[y - 1]
    return out


def _by_diagonals(filters: _Bytes, data: _Bytes) -> _Bytes:
    """Undo any filters.

    A byte needs its left, upper and upper-left neighbours, so the pixels are done by
    anti-diagonals: those of one diagonal do not need each other.
    """
    height, width, _ = data.shape
    out = np.zeros((height + 1, width + 1, 6), np.int16)  # with the zeros above and to the left
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, up, corner = out[y + 1, x], out[y, x + 1], out[y, x]
        to_left, to_up, to_corner = (abs(left + up - corner - side) for side in (left, up, corner))
        nearer = np.where(to_up <= to_corner, up, corner)
        paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearer)
        guess = np.choose(filters[y, None], (0, left, up, (left + up) // 2, paeth))
        out[y + 1, x + 1] = (data[y, x] + guess) & 255
    return out[1:, 1:].astype(np.uint8, order="C")
