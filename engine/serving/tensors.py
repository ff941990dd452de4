"""Tensors of the protocol as images."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.serving.errors import RequestError
from engine.types import Image

_DATATYPE = "UINT8"


@dataclass(frozen=True)
class Limits:
    """Limits of an input.

    Attributes:
        pairs: most images in it.
        pixels: most pixels of all its images together.
    """

    pairs: int
    pixels: int


@dataclass(frozen=True)
class Tensor:
    """A tensor of a request, not checked yet.

    Attributes:
        where: what error messages call it.
        datatype: of the protocol.
        shape: as sent.
        data: bytes, or a list, nested or not.
    """

    where: str
    datatype: str
    shape: list[Any]
    data: Any


def image_of(tensor: Tensor, limits: Limits) -> Image:
    """Return a tensor as (N, H, W, 3) uint8, without a copy of bytes.

    Raises:
        RequestError: It is none, status 400, or is too large, status 413.
    """
    if tensor.datatype != _DATATYPE:
        raise RequestError(
            400,
            f"{tensor.where} has datatype {tensor.datatype!r:.20}; expected {_DATATYPE}: RGB in "
            "0..255.",
        )
    shape = _checked_shape(tensor, limits)
    if isinstance(tensor.data, memoryview):
        values = np.frombuffer(tensor.data, np.uint8)
    else:
        values = _levels(tensor)
    if values.size != math.prod(shape):
        raise RequestError(
            400,
            f"{tensor.where} has {values.size} values; its shape {tensor.shape} has "
            f"{math.prod(shape)}.",
        )
    return values.reshape(shape)


def _checked_shape(tensor: Tensor, limits: Limits) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) != 4 or any(type(side) is not int or side < 1 for side in shape) or shape[3] != 3:
        raise RequestError(
            400,
            f"{tensor.where} has shape {tensor.shape!r:.80}; expected [N, height, width, 3], with "
            "N = 1 for one image.",
        )
    if shape[0] > limits.pairs:
        raise RequestError(
            400, f"{tensor.where} has {_shown(shape[0])} images; expected at most {limits.pairs}."
        )
    if (pixels := math.prod(shape[:3])) > limits.pixels:
        raise RequestError(
            413, f"{tensor.where} has {_shown(pixels)} pixels; expected at most {limits.pixels}."
        )
    return shape


def _levels(tensor: Tensor) -> Image:
    """Return the numbers of a list as uint8, (size,)."""
    try:
        # As objects: an array of texts gives each item the room of the longest one.
        numbers = np.asarray(tensor.data, object).reshape(-1).tolist()
        if {*map(type, numbers)} == {int}:
            return np.frombuffer(bytearray(numbers), np.uint8)
    except (ValueError, OverflowError, RecursionError):  # too large a number, nested too deeply
        pass
    raise RequestError(
        400, f"the data of {tensor.where} are not whole numbers; expected those from 0 to 255."
    )


def _shown(number: int) -> str:
    return str(number) if number < 10**12 else "more than 10^12"
