"""Which pixels of the first image the second does not show: the forward-backward test.

Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical
Flow", ECCV 2010, eq. 5: the flow forward and the flow back from where it points should cancel. The
tolerance grows with the motion.
"""

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.flow.validity import Mask
from engine.flow.warp import checked_flow, warp
from engine.types import Array

MOTION_SHARE, PIXELS = 0.01, 0.5


def occlusion(forward: npt.ArrayLike, backward: npt.ArrayLike) -> Mask:
    """Return where the first image shows a point that the second does not.

    With f the forward flow at a pixel and b the backward flow where f points to, the pixel is
    occluded if |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5. Pixels whose flow is wrong look the same.

    Args:
        forward: (H, W, 2) or (N, H, W, 2) floats in pixels, x then y: the flow from the first image
            to the second.
        backward: the same shape: from the second image to the first.

    Returns:
        (H, W) or (N, H, W) bool. True also where f leaves the image or a flow is unknown.

    Raises:
        InputError: A flow has another type or shape.
    """
    return ~(inconsistency(forward, backward) <= 1)  # also true for NaN


def inconsistency(forward: npt.ArrayLike, backward: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return |f + b|^2 relative to its tolerance: (H, W) or (N, H, W) float32, above 1 if occluded.

    NaN where the test is impossible: f leaves the image, or a flow is unknown. Arguments and errors
    are those of ``occlusion``.
    """
    first, second = checked_flow(forward, "forward"), checked_flow(backward, "backward")
    if first.shape != second.shape:
        raise InputError(
            f"forward has shape {first.shape} and backward {second.shape}; expected the same "
            "shape. engine.infer(image1, image2, backward=True) returns both."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        there = first.astype(np.float32)
        back = warp(second.astype(np.float32), there, fill=np.nan)
        tolerance = MOTION_SHARE * (_squared(there) + _squared(back)) + np.float32(PIXELS)
        return np.asarray(_squared(there + back) / tolerance, np.float32)


def _squared(flow: Array) -> Array:
    x, y = flow[..., 0], flow[..., 1]
    squares: Array = x * x + y * y
    return squares
