"""Images of other libraries as arrays: PyTorch, Pillow and PyAV, none of which is imported."""

from numbers import Real
from typing import Any

import numpy as np

from engine.errors import InputError, one_line
from engine.images.no_array import describe
from engine.types import Array

# Of Pillow, with more than 8 bits or in unknown units.
_DEEP_MODES = ("I", "F")
_TORCH_FLOATS = ("torch.float16", "torch.float32", "torch.float64")
_EXPECTED = "expected an array (H, W, 3)"


def as_array(image: object, name: str, *, bgr: bool = False) -> tuple[Array, str]:
    """Return an image as an array, and the Python expression that gives it.

    Args:
        image: an array or what ``numpy.asarray`` converts to one, a tensor of PyTorch on the CPU,
            an image of Pillow in mode RGB or L, or a frame of PyAV.
        name: name of the image in error messages and in the expression.
        bgr: whether images that know their order of channels, of Pillow and PyAV, are returned in
            the order BGR.

    Raises:
        InputError: It is something else; the message has the conversion.
    """
    if isinstance(image, np.ndarray):
        if np.ma.is_masked(image):
            raise InputError(
                f"{name} has masked pixels; expected some value in each. Fill them, e.g. with "
                f"{name}.filled(0)."
            )
        return image, name
    libraries = {kind.__module__.partition(".")[0] for kind in type(image).__mro__}
    if "torch" in libraries:
        return _from_torch(image, name), f"{name}.numpy()"
    if "PIL" in libraries:
        return _channels(_from_pillow(image, name), bgr), f"numpy.asarray({name})"
    if "av" in libraries and type(image).__name__ == "VideoFrame":
        frame: Any = image
        return _channels(frame.to_ndarray(format="rgb24"), bgr), f"{name}.to_ndarray()"
    is_content = isinstance(image, memoryview)  # which numpy takes for one row
    if is_content or not (hasattr(image, "__array__") or hasattr(image, "__array_interface__")):
        found, advice = describe(image, name)
        raise InputError(f"{name} {found}; {_EXPECTED}. {advice}")
    return _converted(image, name), f"numpy.asarray({name})"


def without_time(frame: object) -> object:
    """Return the image of a frame: an item ``(time, image)`` of a video reader, or the image."""
    if isinstance(frame, tuple | list) and len(frame) == 2 and isinstance(frame[0], Real):
        return frame[1]
    return frame


def _from_torch(tensor: Any, name: str) -> Array:
    if tensor.device.type != "cpu":
        raise InputError(
            f"{name} is a tensor on {tensor.device}; expected the CPU. Pass {name}.cpu(), or on an "
            "NVIDIA GPU use infer_device."
        )
    if tensor.requires_grad:
        raise InputError(
            f"{name} is a tensor that requires its gradient, which the engine cannot compute. Pass "
            f"{name}.detach()."
        )
    if tensor.is_floating_point() and str(tensor.dtype) not in _TORCH_FLOATS:
        raise InputError(
            f"{name} has type {tensor.dtype}; expected uint8 (0 to 255) or float16, float32 or "
            f"float64 (0 to 1). Convert it: {name}.float()."
        )
    return _converted(tensor, name)


def _from_pillow(image: Any, name: str) -> Array:
    mode = image.mode
    if mode in ("RGB", "L"):
        return np.asarray(image)
    if mode.partition(";")[0] in _DEEP_MODES:
        raise InputError(
            f"{name} is a picture of mode {mode}, whose white level is unknown; expected mode RGB "
            f"or L. Scale it, e.g. (numpy.asarray({name}) // 257).astype('uint8') for 16 bits."
        )
    raise InputError(
        f"{name} is a picture of mode {mode}; expected mode RGB or L. Convert it: "
        f"{name}.convert('RGB')."
    )


def _channels(image: Array, bgr: bool) -> Array:
    return image[..., ::-1] if bgr and image.ndim == 3 else image


def _converted(image: object, name: str) -> Array:
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # e.g. an array on a GPU
        raise InputError(
            f"{name} cannot be converted to a numpy array: {one_line(error)}."
        ) from error
