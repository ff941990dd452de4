"""Backward warping: the second image, seen as the first, through the flow between them."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.flow.validity import Mask, unmasked
from engine.types import Array

Coordinates = npt.NDArray[np.float32]
# Samples one image (H, W) or (H, W, C) at x and y, which are inside of it.
_Sampler = Callable[[Array, Coordinates, Coordinates], Array]

# NumPy's arrays of one band of rows stay in the CPU's cache.
_BAND_PIXELS = 1 << 15
# OpenCV holds the coordinates of an image's pixels in 16 bits.
_OPENCV_SIDE = 32766


def warp(image: npt.ArrayLike, flow: npt.ArrayLike, *, fill: float = 0) -> Array:
    """Return an image seen through a flow: its pixel (x, y) is ``image`` at (x, y) + flow.

    With the second image of a pair and the flow from the first, this is the first image again,
    except where the flow is wrong or the point is occluded. Values between pixels are bilinear.
    OpenCV computes them if it is installed and interpolates as exactly as NumPy (version 5 does).

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
        value = (
            np.asarray(fill, np.float64).astype(dtype) if dtype.kind == "f" else dtype.type(fill)
        )
        if value.shape == () and (dtype.kind == "f" or value == fill):
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
    fast = max(x.shape) <= _OPENCV_SIDE and image.dtype in (np.uint8, np.float32)
    sample = (opencv_sampler() if fast else None) or sample_with_numpy
    result = sample(image, x, y)
    if any_outside:
        result[outside] = fill
    return result


def sample_with_numpy(image: Array, x: Coordinates, y: Coordinates) -> Array:
    """Return the image at x and y, bilinear, in its own type.

    Args:
        image: (H, W) or (H, W, C).
        x: (h, w), from 0 to W - 1.
        y: (h, w), from 0 to H - 1.
    """
    result = np.empty((*x.shape, *image.shape[2:]), image.dtype)
    rows = max(1, _BAND_PIXELS // x.shape[1])
    for top in range(0, len(x), rows):
        band = slice(top, top + rows)
        result[band] = _interpolated(image, x[band], y[band])
    return result


def _interpolated(image: Array, x: Coordinates, y: Coordinates) -> Array:
    height, width = image.shape[:2]
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    kind = np.result_type(image.dtype, np.float32)
    across, down = (x - left).astype(kind), (y - top).astype(kind)
    if image.ndim == 3:
        across, down = across[..., np.newaxis], down[..., np.newaxis]
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    values: Array = upper * (1 - down) + lower * down
    return values if image.dtype.kind == "f" else np.rint(values)


@functools.cache
def opencv_sampler() -> _Sampler | None:
    """Return OpenCV's sampler; None if it is missing or rounds coordinates.

    OpenCV 4 rounds them to 1/32 px, as do some element types and numbers of channels in 5.
    """
    try:
        import cv2
    except ImportError:
        return None

    def plane(image: Array, x: Coordinates, y: Coordinates) -> Array:
        found: Array = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found

    def sample(image: Array, x: Coordinates, y: Coordinates) -> Array:
        if image.ndim == 2 or image.shape[2] == 3:
            return plane(np.ascontiguousarray(image), x, y)
        planes = np.moveaxis(image, -1, 0)
        return np.stack([plane(np.ascontiguousarray(one), x, y) for one in planes], axis=-1)

    return sample if _is_exact(sample) else None


def _is_exact(sample: _Sampler) -> bool:
    """Return whether a sampler keeps 1/128 px: 5/128 of the way from 0 to 250 is 9.8."""
    stripes = np.tile(np.array([0, 250], np.float32), (8, 32))
    x = np.tile(np.arange(0, 64, 2, dtype=np.float32) + np.float32(5 / 128), (8, 1))
    colours = np.dstack([stripes] * 3)
    return all(
        np.abs(sample(image, x, np.zeros_like(x)) - expected).max() < 1e-3
        for image, expected in (
            (stripes, 9.765625), (colours, 9.765625),
            (stripes.astype(np.uint8), 10), (colours.astype(np.uint8), 10),
        )
    )  # fmt: skip
