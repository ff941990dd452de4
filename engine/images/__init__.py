"""Images: what is accepted, how it is laid out for a network, and reading and writing pictures."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendNotInstalledError, InputError
from engine.system.files import write_atomically

Image = NDArray[np.uint8]


def checked_image(image: object, name: str) -> NDArray[Any]:
    """Return ``image`` as an array that ``network_input`` takes, or say what is wrong with it.

    Args:
        image: (H, W, 3) or (N, H, W, 3); uint8 in 0..255, or float16, float32 or float64 in 0..1.
        name: what the error messages call it.

    Raises:
        InputError: It is not an array, or its type, shape or values are not as above.
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
        array = array.astype(np.float32)  # numpy compares float16 36 times as slowly
    _check_range(array, name)
    return array


def check_alike(first: NDArray[Any], second: NDArray[Any], names: tuple[str, str]) -> None:
    """Raise ``InputError`` unless both images have the same shape and the same value range."""
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


def padded_size(height: int, width: int, divisor: int) -> tuple[int, int]:
    """Return the smallest (height, width) at least as large and divisible by ``divisor``."""
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def network_input(
    image: NDArray[Any], size: tuple[int, int], *, bgr: bool = False, copy: bool = False
) -> Image:
    """Lay a checked image out for a network: (N, height, width, 3) uint8 RGB, C-contiguous.

    Pads with the last row and column, at the bottom and on the right, to ``size`` (height, width).
    A uint8 RGB image that is contiguous and has this size is returned as a view, unless ``copy``.
    """
    batch = image if image.ndim == 4 else image[np.newaxis]
    if batch.dtype != np.uint8:
        batch = _eight_bits(batch)
    count, height, width, _ = batch.shape
    if (height, width) == size and batch.flags.c_contiguous and not (bgr or copy):
        return batch
    out = np.empty((count, *size, 3), np.uint8)
    if bgr or batch.strides[-1] != 1:
        # Channel by channel: numpy copies a reversed last axis element by element, 5 times slower.
        for channel in range(3):
            out[:, :height, :width, channel] = batch[..., 2 - channel if bgr else channel]
    else:
        out[:, :height, :width] = batch
    out[:, :height, width:] = out[:, :height, width - 1 : width]
    out[:, height:] = out[:, height - 1 : height]
    return out


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a picture as (H, W, 3) uint8 RGB.

    Grey pictures are converted, as are those of 16 bits, and alpha is left out. Where the levels do
    not say what is white, as in a 16-bit file with a sensor's 12 bits, that is left to the caller.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: There is no such file, it is not a picture, or has levels as above.
        OSError: The file cannot be read.
    """
    cv2 = _opencv()
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a picture, e.g. a .png or .jpg.")
    # Not imread, which crashes on a file name that is not UTF-8; imdecode raises on no bytes.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        mode = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(data, mode) if data.size else None
    except cv2.error as error:
        raise InputError(f"{path} cannot be read as a picture: {error.err}.") from error
    if image is None:
        raise InputError(f"{path} is not a picture OpenCV can read. Convert it to .png.")
    rgb: Image = cv2.cvtColor(_of_eight_bits(image, path), cv2.COLOR_BGR2RGB)
    return rgb


def _of_eight_bits(image: NDArray[Any], path: Path) -> Image:
    """Return the levels of a picture as read from its file in uint8."""
    if image.dtype == np.uint8:
        return image
    top = image.max()
    if image.dtype == np.uint16 and top >= 4096:  # more than 12 bits are 16
        return (image // 257).astype(np.uint8)
    shown = "e.g. (x >> 4) for 12 bits, " if image.dtype == np.uint16 else ""
    raise InputError(
        f"{path} has {image.dtype} levels up to {top}; expected 8 bits, or the whole range of 16. "
        "Read it with cv2.imread(path, cv2.IMREAD_UNCHANGED) and scale it to uint8 by the sensor's "
        f"range, {shown}then pass the array."
    )


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write (H, W, 3) uint8 RGB as the picture format of the suffix, whole or not at all.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The image is something else, or cannot be written in this format.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"{path}: the image is {image.shape} {image.dtype}; expected (H, W, 3) uint8, RGB."
        )
    encoded = _encoded(path, image)
    if encoded is None:
        check_picture_format(path)
        raise InputError(
            f"{path}: a picture of {image.shape[0]}x{image.shape[1]} cannot be written as "
            f"{path.suffix!r}; expected a smaller one, or another format, e.g. .png."
        )
    write_atomically(path, encoded)


def check_picture_format(path: Path) -> None:
    """Raise what ``write_image`` would for this suffix, before there is anything to write."""
    # Some formats, JPEG 2000 for one, hold no very small pictures.
    if _encoded(path, np.zeros((64, 64, 3), np.uint8)) is None:
        raise InputError(
            f"{path}: {path.suffix!r} is not a format for colour pictures; expected e.g. .png."
        )


def _encoded(path: Path, image: Image) -> bytes | None:
    cv2 = _opencv()
    try:
        written, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        return None
    return data.tobytes() if written else None


def _array(image: object, name: str) -> NDArray[Any]:
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
    if isinstance(mode, str) and mode != "RGB":  # Pillow's: the numbers mean other things
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


def _check_range(array: NDArray[Any], name: str) -> None:
    with np.errstate(invalid="ignore"):
        low, high = array.min(), array.max()
    if low >= 0 and high <= 1:  # false for NaN, which min and max hand through
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
    # All digits: 1.0000001 must not read "1 ... expected 0 to 1".
    raise InputError(
        f"{name} is float with values from {low!s} to {high!s}; expected 0 to 1. {advice}"
    )


def _eight_bits(image: NDArray[Any]) -> Image:
    """Round floats in 0..1 to the nearest of the 256 levels, which is what cameras deliver."""
    levels: NDArray[np.float32] = np.multiply(image, np.float32(255), dtype=np.float32)
    np.rint(levels, out=levels)
    return levels.astype(np.uint8)


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise BackendNotInstalledError(
            f"reading and writing pictures needs OpenCV, which cannot be imported ({error}). "
            "Install it: pip install opencv-python-headless."
        ) from error
    module: ModuleType = cv2
    return module
