"""Validate images: type, shape and value range."""

import numpy as np

from engine.errors import InputError
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
            f"float64 (0 to 1). {_type_advice(array, expression)}"
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


def _type_advice(array: Array, name: str) -> str:
    kind = array.dtype.kind
    if kind == "b":
        return f"Scale it: {name} * numpy.uint8(255)."
    if kind == "f":
        return f"Convert it: {name}.astype('float64')."
    if kind not in "iu" or not array.size:
        return "Pass the pixels as one of these types."
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= 255:
        return f"If its range is 0 to 255, pass {name}.astype('uint8')."
    stretched = f"(({name} - {low:.1f}) / {max(high - low, 1)} * 255).clip(0, 255).astype('uint8')"
    return (
        f"Its values are from {low} to {high}. Scale both images alike, by the range of their "
        f"sensor: ({name} >> 4).astype('uint8') for 12 bits, ({name} // 257).astype('uint8') for "
        f"16; or by that of the scene: {stretched}."
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
        f"{_range_advice(float(low), float(high), name)}"
    )


# Of bicubic resizing, in units of the largest value.
_OVERSHOOT = 0.2


def _range_advice(low: float, high: float, name: str) -> str:
    """Return what to type, for each range that an image with these values may have."""
    unit = f"if it is meant to be 0 to 1, clip it: {name}.clip(0, 1)"
    byte = f"if its range is 0 to 255, divide it: {name}.clip(0, 255) / 255"
    signed = f"if its range is -1 to 1, shift it: (({name} + 1) / 2).clip(0, 1)"
    normalised = f"if it was normalised, undo that: {name} * deviation + mean"
    deep = f"if white is 65535, divide it: {name} / 65535"
    if low < 0:
        if low > -_OVERSHOOT and high < 1 + _OVERSHOOT:
            ranges = [unit]
        else:
            ranges = [signed] if low > -1.2 and high < 1.2 else [normalised, byte]
    elif high < 2:
        ranges = [unit, byte]  # a dark frame
    else:
        ranges = [byte if high < 300 else deep]
    advice = "; ".join(ranges)
    return f"{advice[0].upper()}{advice[1:]}."
