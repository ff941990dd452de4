"""Validate images: type, shape and value range."""

import os
from typing import Any

import numpy as np

from engine.errors import InputError
from engine.types import Array


def checked_image(image: object, name: str) -> Array:
    """Return an image as an array that ``network_input`` takes.

    Args:
        image: (H, W, 3) or (N, H, W, 3); uint8 in 0..255, or float16, float32 or float64 in 0..1.
        name: name of the image in error messages.

    Raises:
        InputError: The image is not an array, or its type, shape or values differ from the above.
    """
    array = _array(image, name)
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        kind = "float"
    elif array.dtype == np.uint8:
        kind = "uint8"
    else:
        raise InputError(
            f"{name} has type {array.dtype}; expected uint8 (0 to 255) or float16, float32 or "
            f"float64 (0 to 1). {_type_advice(array.dtype, name)}"
        )
    _check_shape(array.shape, name)
    if kind == "uint8":
        return array
    if array.dtype.itemsize == 2:
        array = array.astype(np.float32)  # numpy compares float16 36 times slower
    _check_range(array, name)
    return array


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


def _array(image: object, name: str) -> Array:
    if isinstance(image, np.ndarray):
        if np.ma.is_masked(image):
            raise InputError(
                f"{name} has masked pixels; expected some value in each. Fill them, e.g. with "
                f"{name}.filled(0)."
            )
        return image
    if isinstance(image, str | bytes | os.PathLike):
        raise InputError(
            f"{name} is a path ({os.fspath(image)!r}); expected an array (H, W, 3). "
            "Read it first: engine.images.read_image(path)."
        )
    if not hasattr(image, "__array__") and not hasattr(image, "__array_interface__"):
        raise InputError(
            f"{name} is {type(image).__name__}; expected an array (H, W, 3). "
            "Convert it with numpy.asarray."
        )
    mode = getattr(image, "mode", None)
    if isinstance(mode, str) and mode != "RGB":  # a Pillow image of another colour space
        raise InputError(
            f"{name} is a picture of mode {mode}; expected RGB. Convert it: {name}.convert('RGB')."
        )
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # e.g. a torch tensor on a GPU
        raise InputError(f"{name} cannot be converted to a numpy array: {error}") from error


def _type_advice(dtype: np.dtype[Any], name: str) -> str:
    if dtype.kind == "b":
        return f"Scale it: {name} * numpy.uint8(255)."
    if dtype.kind in "iu":
        return (
            f"Scale it by its sensor's range, e.g. ({name} >> 4).astype('uint8') for 12 bits or "
            f"({name} // 257).astype('uint8') for 16; only if its values are from 0 to 255, pass "
            f"{name}.astype('uint8')."
        )
    if dtype.kind == "f":
        return f"Convert it: {name}.astype('float64')."
    return "Pass the pixels as one of these types."


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) == 3 or len(shape) == 4:
        if 0 in shape:
            raise InputError(f"{name} is empty: its shape is {shape}; expected at least one pixel.")
        if shape[-1] == 3:
            return
        if shape[-1] == 1:
            advice = f"Repeat the grey channel three times: numpy.repeat({name}, 3, axis=-1)."
        elif shape[-3] == 3:
            advice = f"Move the channels last: numpy.moveaxis({name}, -3, -1)."
        else:
            advice = f"Pick three of its {shape[-1]} channels, e.g. {name}[..., :3]."
    elif len(shape) == 2:
        advice = f"Repeat a grey image three times: numpy.stack([{name}] * 3, axis=-1)."
    else:
        advice = "Pass one image or one batch of images."
    raise InputError(f"{name} has shape {shape}; expected (H, W, 3) or (N, H, W, 3). {advice}")


def _check_range(array: Array, name: str) -> None:
    with np.errstate(invalid="ignore"):
        low, high = array.min(), array.max()
    if low >= 0 and high <= 1:  # false for NaN, which min and max propagate
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        count = array.size - np.count_nonzero(np.isfinite(array))
        raise InputError(
            f"{name} holds {count} values that are NaN or infinite; expected numbers from 0 to 1. "
            "Replace them, e.g. with numpy.nan_to_num."
        )
    advice = (
        f"If it is meant to be 0 to 1, clip it: {name}.clip(0, 1); if its range is 0 to 255, as of "
        f"a dark frame, divide it: {name} / 255."
        if low > -1 and high < 2
        else f"If its range is 0 to 255, pass {name}.clip(0, 255).round().astype('uint8')."
    )
    # Print all digits: 1.0000001 must not read "1 ... expected 0 to 1".
    raise InputError(
        f"{name} is float with values from {low!s} to {high!s}; expected 0 to 1. {advice}"
    )
