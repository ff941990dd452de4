"""Predicting levels from their neighbours: what is left of smooth flow is nearly nothing.

Each level is predicted from the one before in its row and the row above, left + above - above
left, which is exact where the flow is an affine function of the position. Differences wrap at 16
bits, so nothing is lost. Their signs move to the lowest bit, since the sign of a small negative
number would otherwise set all 16 bits, and bitshuffle groups bits of equal weight.

An unknown pixel takes the place of a mask bit instead of two levels: it is filled from its row.
"""

import numpy as np
import numpy.typing as npt

from engine.flow.validity import Mask
from engine.store.levels import BAND, UNKNOWN, Levels, unknown_pixels

_Bytes = npt.NDArray[np.uint8]


def sizes(height: int, width: int) -> tuple[int, int]:
    """Return the number of bytes of a frame without and with unknown pixels."""
    pixels = height * width
    return 4 * pixels, 4 * pixels + -(-pixels // 8)


def bytes_from_levels(levels: Levels) -> _Bytes:
    """Return differences of (2, H, W) levels, then one bit a pixel if any is unknown."""
    if levels.min() > UNKNOWN or not (unknown := unknown_pixels(levels)).any():
        return _differences(levels).view(np.uint8).reshape(-1)
    filled = _differences(_filled(levels, unknown))
    return np.concatenate([filled.view(np.uint8).reshape(-1), np.packbits(unknown)])


def levels_from_bytes(data: _Bytes, height: int, width: int) -> Levels:
    """Return the (2, H, W) levels; ``data`` has one of `sizes` and is overwritten."""
    plain, _ = sizes(height, width)
    levels = _summed(data[:plain].view("<u2").reshape(2, height, width))
    if len(data) > plain:
        unknown = np.unpackbits(data[plain:], count=height * width).reshape(height, width)
        np.copyto(levels, UNKNOWN, where=unknown.view(np.bool_))
    return levels


def _differences(levels: Levels) -> npt.NDArray[np.uint16]:
    differences = np.empty(levels.shape, "<i2")
    above = np.zeros_like(levels[:, :1])
    for top in range(0, levels.shape[1], BAND):
        band = levels[:, top : top + BAND]
        rows = np.diff(np.concatenate([above, band], axis=1), axis=1)
        above = band[:, -1:]
        both = rows.copy()
        both[..., 1:] -= rows[..., :-1]
        signs = both >> 15
        both <<= 1
        np.bitwise_xor(both, signs, out=differences[:, top : top + BAND])
    return differences.view("<u2")


def _summed(differences: npt.NDArray[np.uint16]) -> Levels:
    signs = np.negative(differences & 1)
    differences >>= 1
    differences ^= signs
    levels = differences.view("<i2")
    for row in range(1, levels.shape[1]):  # five times as fast as cumsum along this axis
        levels[:, row] += levels[:, row - 1]
    return np.cumsum(levels, axis=2, dtype=np.int16, out=levels)


def _filled(levels: Levels, unknown: Mask) -> Levels:
    """Return the levels with unknown pixels equal to the last known one of their row, or 0."""
    height, width = unknown.shape
    last = np.where(unknown, 0, np.arange(width))
    np.maximum.accumulate(last, axis=1, out=last)
    last += np.arange(height)[:, np.newaxis] * width
    filled = np.take(levels.reshape(2, -1), last, axis=1)
    np.copyto(filled, 0, where=np.take(unknown, last))  # nothing is known before
    return filled
