"""KITTI ``.png``: 1/64 px in 16 bits, the third channel marks known flow (2015 devkit readme)."""

from typing import IO

import numpy as np

from engine.errors import InputError
from engine.flow.formats import png16
from engine.flow.validity import Mask, known
from engine.types import Array, Flow

# Range in pixels.
LOWEST, HIGHEST = -512.0, 65535 / 64 - 512


def decode(stream: IO[bytes]) -> Array:
    """Return the flow, (H, W, 2) float32."""
    levels = png16.levels_from_png(stream)
    flow = np.empty((*levels.shape[:2], 2), np.float32)
    for axis in (0, 1):  # together three times as slow
        flow[..., axis] = levels[..., axis]
    flow -= 32768
    flow /= 64
    np.copyto(flow, np.nan, where=(levels[..., 2] == 0)[..., np.newaxis])
    return flow


def encode(flow: Flow) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: Known flow is beyond the range of the format, -512 to 511.98 px.
    """
    levels = _levels(flow)
    if _beyond_range(levels).any():
        raise InputError(
            f"flow is {np.nanmin(flow):.2f} to {np.nanmax(flow):.2f} px; a KITTI png stores "
            f"{LOWEST:g} to {HIGHEST:.2f} px. Write .flo, or clear these pixels in valid."
        )
    valid = known(flow)
    stored = np.empty((*valid.shape, 3), np.uint16)
    stored[..., :2] = np.where(valid[..., None], levels, 0)
    stored[..., 2] = valid
    return png16.png_from_levels(stored)


def beyond_range(flow: Flow) -> Mask:
    """Return (H, W) bool: the pixel's flow is known and not in the range of the format."""
    return _beyond_range(_levels(flow))


def _beyond_range(levels: Array) -> Mask:
    return np.asarray(((levels < 0) | (levels > 65535)).any(axis=-1))  # NaN is neither


def _levels(flow: Flow) -> Array:
    # Exact in float32: a product with a power of two, and whole numbers below 2 ** 24.
    return np.asarray(np.rint(flow * np.float32(64)) + np.float32(32768))


def read_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    return png16.read_size(stream)
