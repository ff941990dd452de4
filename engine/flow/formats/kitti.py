"""KITTI ``.png``: 1/64 px in 16 bits, the third channel marks known flow (2015 devkit readme)."""

from typing import IO

import numpy as np

from engine.errors import InputError
from engine.flow.formats import png16
from engine.flow.validity import known
from engine.types import Array, Flow


def decode(data: bytes) -> Array:
    """Return the flow, (H, W, 2) float32."""
    levels = png16.levels_from_png(data)
    flow = (levels[..., :2].astype(np.float32) - 32768) / 64
    flow[levels[..., 2] == 0] = np.nan
    return flow


def encode(flow: Flow) -> bytes:
    """Return the bytes of a file.

    Raises:
        InputError: Known flow is beyond the range of the format, -512 to 511.98 px.
    """
    valid = known(flow)
    levels = np.rint(np.where(valid[..., None], flow, -512).astype(np.float64) * 64) + 32768
    if levels.min() < 0 or levels.max() > 65535:
        raise InputError(
            f"flow is {np.nanmin(flow):.2f} to {np.nanmax(flow):.2f} px; a KITTI png stores "
            "-512 to 511.98 px. Write .flo, or clear these pixels in valid."
        )
    return png16.png_from_levels(np.dstack([levels, valid]).astype(np.uint16))


def read_size(stream: IO[bytes]) -> tuple[int, int]:
    """Read (height, width) from the header."""
    return png16.read_size(stream)
