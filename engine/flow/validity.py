"""Which pixels of a flow are known.

A flow is one array, (H, W, 2) float32 in pixels, x then y, with NaN where it is unknown.
"""

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.types import Array, Flow

Mask = npt.NDArray[np.bool_]

# Middlebury's flowIO.h writes unknown flow as 1e10 and reads any value beyond 1e9 as unknown.
UNKNOWN_THRESHOLD = 1e9


def known(flow: Array) -> Mask:
    """Return (..., H, W) bool: both values of a pixel are numbers of at most 1e9 px."""
    # One component after the other: a third of the memory, and ten times as fast as .all(axis=-1).
    inside = [np.abs(flow[..., axis]) <= UNKNOWN_THRESHOLD for axis in (0, 1)]
    return np.asarray(inside[0] & inside[1])


def unmasked(flow: npt.ArrayLike) -> Array:
    """Return ``flow`` as an array.

    Raises:
        InputError: It is a numpy masked array with masked values, which an array would expose.
    """
    if np.ma.is_masked(flow):
        raise InputError(
            "flow has masked values, which an array of floats does not keep; expected NaN where it "
            "is unknown. Fill it: flow.filled(numpy.nan)."
        )
    return np.asarray(flow)


def as_float32(array: Array) -> Flow:
    """Return writable C-contiguous float32, a copy unless ``array`` is that.

    Values beyond float32 become infinite, i.e. unknown.
    """
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ["C", "W"])
