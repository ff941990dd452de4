"""Which pixels of the first image the second does not show: the forward-backward test.

Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement Optical
Flow", ECCV 2010, eq. 5: the flow forward and the flow back from where it points should cancel. The
tolerance grows with the motion.
"""

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.flow.validity import Mask, known
from engine.flow.warp import checked_flow, warp
from engine.types import Flow

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
    with np.errstate(over="ignore", invalid="ignore"):
        first, back = _there_and_back(forward, backward)
        tolerance = MOTION_SHARE * (_squared(first) + _squared(back)) + np.float32(PIXELS)
        return np.asarray(~(_squared(first + back) <= tolerance))  # also true for NaN


def mismatch(forward: npt.ArrayLike, backward: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return |f + b|^2, in square pixels: (H, W) or (N, H, W) float32.

    NaN where it is undefined: f leaves the image, or a flow is unknown. Arguments and errors are
    those of ``occlusion``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        first, back = _there_and_back(forward, backward)
        return np.asarray(_squared(first + back))


def _there_and_back(forward: npt.ArrayLike, backward: npt.ArrayLike) -> tuple[Flow, Flow]:
    """Return the forward flow, and the backward flow where it points to, as float32."""
    first, second = checked_flow(forward, "forward"), checked_flow(backward, "backward")
    if first.shape != second.shape:
        raise InputError(
            f"forward has shape {first.shape} and backward {second.shape}; expected the same "
            "shape. engine.infer(image1, image2, backward=True) returns both."
        )
    vectors = np.where(known(second)[..., np.newaxis], second, np.nan)
    there = first.astype(np.float32)
    return there, warp(vectors.astype(np.float32), there, fill=np.nan)


def _squared(flow: Flow) -> Flow:
    x, y = flow[..., 0], flow[..., 1]
    squares: Flow = x * x + y * y
    return squares
