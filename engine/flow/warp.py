"""Backward warping: the second image, seen as the first, through the flow between them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.flow.validity import Mask, unmasked
from engine.images.sampling import Coordinates, sampled
from engine.types import Array


def warp(image: npt.ArrayLike, flow: npt.ArrayLike, *, fill: float = 0) -> Array:
    """Return an image seen through a flow: its pixel (x, y) is ``image`` at (x, y) + flow.

    With the second image of a pair and the flow from the first, this is the first image again,
    except where the flow is wrong or the point is occluded. Values between pixels are bilinear.
    OpenCV computes them, several times as fast, if it is installed in version 5 or later.

    Args:
        image: (H, W), (H, W, C), (N, H, W) or (N, H, W, C); uint8, uint16 or floats. Also a flow.
        flow: (H, W, 2), or (N, H, W, 2) for a batch, floats in pixels, x then y.
        fill: value of the pixels whose point is outside of the image or whose flow is unknown;
            ``lands_inside`` tells which.

    Returns:
        The shape and type of ``image``; integers are rounded to the nearest.

    Raises:
        InputError: ``image`` or ``flow`` has another type or shape, or ``fill`` does not fit the
            type.
    """
    source, vectors = np.asarray(image), checked_flow(flow, "flow")
    _check_image(source, vectors)
    value = _filling(fill, source.dtype)
    if vectors.ndim == 3:
        return _warp_one(source, vectors, value)
    pairs = zip(source, vectors, strict=True)
    return np.stack([_warp_one(one, motion, value) for one, motion in pairs])


def lands_inside(flow: npt.ArrayLike) -> Mask:
    """Return where the second image shows the point: (H, W) or (N, H, W) bool.

    Args:
        flow: (H, W, 2) or (N, H, W, 2) floats in pixels, x then y. Unknown flow is not inside.

    Raises:
        InputError: ``flow`` has another type or shape.
    """
    return _inside(*_targets(checked_flow(flow, "flow")))


def checked_flow(flow: npt.ArrayLike, name: str) -> Array:
    """Return a flow as an array.

    Raises:
        InputError: It has masked values, or is not of floats and shape (H, W, 2) or (N, H, W, 2).
    """
    array = unmasked(flow)
    if array.dtype.kind != "f" or array.ndim not in (3, 4) or array.shape[-1] != 2:
        raise InputError(
            f"{name} is {array.dtype} {array.shape}; expected floats (H, W, 2) or (N, H, W, 2), "
            "x then y. Pass the result of engine.infer or read_flow."
        )
    if not array.size:
        raise InputError(f"{name} is empty: its shape is {array.shape}.")
    return array


def _check_image(image: Array, flow: Array) -> None:
    if image.dtype.kind != "f" and image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"image has type {image.dtype}; expected uint8, uint16 or floats. Convert it, e.g. "
            "image.astype('float32')."
        )
    pixels = flow.shape[:-1]
    if image.shape[: len(pixels)] != pixels or image.ndim > len(pixels) + 1 or not image.size:
        raise InputError(
            f"image has shape {image.shape} and flow {flow.shape}; expected {pixels} or "
            f"{(*pixels, 'C')} for the image. Resize one of them, or index the batch."
        )


def _filling(fill: float, dtype: np.dtype[Any]) -> Any:
    try:
        value = dtype.type(fill)
        if dtype.kind == "f" or value == fill:
            return value
    except (OverflowError, TypeError, ValueError):
        pass
    raise InputError(f"fill is {fill!r}; expected a number that {dtype} holds.")


def _targets(flow: Array) -> tuple[Coordinates, Coordinates]:
    """Return the coordinates in the second image, x and y, of every pixel of the first."""
    height, width = flow.shape[-3:-1]
    with np.errstate(over="ignore"):
        x, y = (flow[..., axis].astype(np.float32) for axis in (0, 1))
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, np.newaxis]
    return x, y


def _inside(x: Coordinates, y: Coordinates) -> Mask:
    height, width = x.shape[-2:]
    # False for NaN.
    return np.asarray((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))


def _warp_one(image: Array, flow: Array, fill: Any) -> Array:
    x, y = _targets(flow)
    outside = ~_inside(x, y)
    any_outside = outside.any()
    if any_outside:
        x[outside] = y[outside] = 0
    result = sampled(image, x, y)
    if any_outside:
        result[outside] = fill
    return result
