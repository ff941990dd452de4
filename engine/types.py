"""Types of arguments and results; docstrings give the shapes and units of the arrays."""

import os
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
FlowPair = tuple[Flow, Flow]  # forward, backward
Color = Literal["rgb", "bgr"]
Path = str | os.PathLike[str]


class PillowImage(Protocol):
    """A ``PIL.Image.Image``."""

    mode: str

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The array interface of numpy."""


class PyAVFrame(Protocol):
    """An ``av.VideoFrame``."""

    def to_ndarray(self, *, format: str | None = None) -> Array:
        """Return the pixels."""


# Arrays of numpy, CPU tensors of PyTorch, images of Pillow, frames of PyAV.
ImageLike = ArrayLike | PillowImage | PyAVFrame
