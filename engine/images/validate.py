"""Validate images: type, shape and value range."""

import numpy as np

from engine.errors import InputError
from engine.images.advice import range_advice, type_advice
from engine.images.as_array import as_array
from engine.types import Array


def checked_image(image: object, name: str, *, bgr: bool = False) -> Array:
    """Return an image as an array that ``network_input`` takes.

    Args:
        image: (H, W, 3) or (N, H, W, 3), or grey: (H, W), (H, W, 1) or (N, H, W, 1); uint8 in
            0..255, or float16, float32 or float64 in 0..1. An array, or as for ``as_array``.
        name: name of the image in error messages.
        bgr: whether the channels of arrays are in the order BGR; those of the result are.

    Returns:
        (H, W, 3) or (N, H, W, 3); the channels of a grey image share memory.

    Raises:
        InputError: The image is not an array, or its type, shape or values differ from the above.
    """
    array, expression = as_array(image, name, bgr=bgr)
    if array.dtype != np.uint8 and (array.dtype.kind != "f" or array.dtype.itemsize > 8):
        raise InputError(
            f"{name} has type {array.dtype}; expected uint8 (0 to 255) or float16, float32 or "
            f"float64 (0 to 1). {type_advice(array, expression)}"
        )
    _check_shape(array.shape, name, is_tensor=expression == f"{name}.numpy()")
    if array.dtype.kind == "f":
        if array.dtype.itemsize == 2:
            array = array.astype(np.float32)  # numpy compares float16 36 times slower
        _check_range(array, name, expression)
    if array.ndim == 2:
        array = array[..., np.newaxis]
    return np.broadcast_to(array, (*array.shape[:-1], 3)) if array.shape[-1] == 1 else array


def check_same_kind(first: Array, second: Array, names: tuple[str, str]) -> None:
    """Raise ``InputError`` unless both images have the same shape and are both uint8 or float."""
    if first.shape != second.shape:
        raise InputError(
            f"{names[0]} has shape {first.shape} and {names[1]} {second.shape}; expected the same "
            "shape. Crop or resize one of them."
        )
    if first.dtype.kind != second.dtype.kind:
        raise InputError(
            f"{names[0]} has type {first.dtype} and {names[1]} {second.dtype}; expected uint8 "
            "(0 to 255) for both or float (0 to 1) for both. Convert one of them."
        )


def _check_shape(shape: tuple[int, ...], name: str, *, is_tensor: bool) -> None:
    if not 2 <= len(shape) <= 4:
        advice = "Pass one image or one batch of images."
    elif 0 in shape:
        raise InputError(f"{name} is empty: its shape is {shape}; expected at least one pixel.")
    elif len(shape) == 2 or shape[-1] in (1, 3):
        return
    elif shape[-3] == 3:
        advice = f"Move the channels last: {_channels_last(shape, name, is_tensor)}."
    elif len(shape) == 3 and shape[0] == 1:
        advice = f"Leave its first axis out: {name}[0]."
    elif shape[-1] == 2:
        advice = f"Leave alpha out: {name}[..., 0]."
    elif shape[-1] == 4:
        advice = f"Pick three of its 4 channels, e.g. {name}[..., :3]."
    else:
        advice = f"For grey images, one after another, pass {name}[..., None]."
    raise InputError(
        f"{name} has shape {shape}; expected (H, W, 3) or (N, H, W, 3), or grey (H, W). {advice}"
    )


def _channels_last(shape: tuple[int, ...], name: str, is_tensor: bool) -> str:
    if not is_tensor:
        return f"numpy.moveaxis({name}, -3, -1)"
    if len(shape) == 3:
        return f"{name}.permute(1, 2, 0)"
    return f"{name}[0].permute(1, 2, 0)" if shape[0] == 1 else f"{name}.permute(0, 2, 3, 1)"


def _check_range(array: Array, name: str, expression: str) -> None:
    with np.errstate(invalid="ignore"):
        low, high = array.min(), array.max()
    if low >= 0 and high <= 1:  # false for NaN, which min and max propagate
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        count = array.size - np.count_nonzero(np.isfinite(array))
        raise InputError(
            f"{name} holds {count} values that are NaN or infinite; expected numbers from 0 to 1. "
            f"Replace them, e.g. with numpy.nan_to_num({expression})."
        )
    # Print all digits: 1.0000001 must not read "1 ... expected 0 to 1".
    raise InputError(
        f"{name} is float with values from {low!s} to {high!s}; expected 0 to 1. "
        f"{range_advice(float(low), float(high), name)}"
    )
