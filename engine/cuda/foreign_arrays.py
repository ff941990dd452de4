"""Arrays and streams of other libraries on a GPU, used in place.

Read through the CUDA Array Interface (PyTorch, CuPy, PyCUDA, Numba), else through DLPack.
https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.cuda import dlpack
from engine.errors import InputError, one_line

LEGACY_DEFAULT_STREAM = 1  # CU_STREAM_LEGACY; 0 is the same, but invalid in both protocols


@dataclass(frozen=True)
class CallerStream:
    """A stream of another library; ``owner`` keeps its ``handle`` valid."""

    handle: int
    owner: object


@dataclass(frozen=True)
class DeviceView:
    """An array of another library on a GPU.

    Attributes:
        name: its name in error messages.
        address: of the first element.
        shape: of the array.
        strides: in bytes; those of an axis of length 1 are as in a contiguous array.
        dtype: of an element.
        read_only: whether the array must not be written.
        stream: handle of the stream in which its content becomes ready; None: it is ready.
        owner: keeps the memory alive.
    """

    name: str
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[np.generic]
    read_only: bool
    stream: int | None
    owner: object

    @property
    def is_contiguous(self) -> bool:
        """Whether it is C-contiguous."""
        return self.strides == c_strides(self.shape, self.dtype.itemsize)


def c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the strides, in bytes, of a C-contiguous array."""
    strides: list[int] = []
    for length in reversed(shape):
        strides.insert(0, itemsize)
        itemsize *= length
    return tuple(strides)


def caller_stream(stream: object) -> CallerStream | None:
    """Return the stream of a handle or of a library's stream object; None for None.

    Raises:
        InputError: ``stream`` is neither.
    """
    if stream is None:
        return None
    names = ("cuda_stream", "ptr", "handle")  # of PyTorch's, CuPy's and PyCUDA's streams
    for handle in (stream, *(getattr(stream, name, None) for name in names)):
        if type(handle) is int and handle >= 0:
            return CallerStream(handle, stream)
    raise InputError(
        f"stream is {stream!r}; expected None, the handle of a CUDA stream, or a stream of "
        "PyTorch, CuPy or PyCUDA."
    )


def image_view(image: object, name: str, stream: CallerStream | None) -> DeviceView:
    """Check an image on a GPU and return it as a ``DeviceView``.

    Args:
        image: (H, W, 3) or (N, H, W, 3) uint8; gaps between rows and between images are allowed.
        name: its name in error messages.
        stream: the stream in which it will be read.

    Raises:
        InputError: it is not an array on a GPU, or not of this type or layout.
    """
    view = _view(image, name, stream)
    if view.dtype != np.uint8:
        raise InputError(
            f"{name} has type {view.dtype}; expected uint8 (0 to 255). Convert it on the device."
        )
    if len(view.shape) not in (3, 4) or view.shape[-1] != 3:
        raise InputError(
            f"{name} has shape {view.shape}; expected (H, W, 3) or (N, H, W, 3). Move its axes on "
            "the device, and make it contiguous there."
        )
    if 0 in view.shape:
        raise InputError(
            f"{name} is empty: its shape is {view.shape}; expected at least one pixel."
        )
    pitch, pixel, channel = view.strides[-3:]
    if (pixel, channel) != (3, 1) or pitch < 3 * view.shape[-2]:
        raise InputError(
            f"{name} has strides {view.strides}; expected the pixels of a row without gaps, 3 "
            "bytes each (gaps between rows are allowed). Make it contiguous on the device, e.g. "
            f"{name}.contiguous() or cupy.ascontiguousarray({name})."
        )
    return view


def flow_view(out: object, shape: tuple[int, ...], stream: CallerStream | None) -> DeviceView:
    """Check an array on a GPU that a flow will be written to and return it as a ``DeviceView``.

    Args:
        out: ``shape`` float32, C-contiguous and writable.
        shape: of the flow.
        stream: the stream in which it will be written.

    Raises:
        InputError: it is not an array on a GPU, or not as described.
    """
    view = _view(out, "out", stream)
    if view.dtype != np.float32 or view.shape != shape:
        raise InputError(
            f"out has shape {view.shape} and type {view.dtype}; expected {shape} float32."
        )
    if view.read_only or not view.is_contiguous:
        fault = "read-only" if view.read_only else f"not contiguous: its strides are {view.strides}"
        raise InputError(f"out is {fault}; expected an array of its own, e.g. from torch.empty.")
    return view


def _view(array: object, name: str, stream: CallerStream | None) -> DeviceView:
    try:
        interface = getattr(array, "__cuda_array_interface__", None)
        if interface is not None:
            return _from_interface(interface, name, array)
        if hasattr(array, "__dlpack_device__"):
            return _from_dlpack(array, name, stream)
    except InputError:
        raise
    except Exception as error:  # of the library, e.g. for a tensor that requires a gradient
        raise InputError(f"{name} cannot be read as a device array: {one_line(error)}.") from error
    raise InputError(
        f"{name} is {type(array).__name__}; expected an array on the GPU, with "
        "__cuda_array_interface__ or __dlpack__. For arrays on the host, use infer."
    )


def _from_interface(interface: dict[str, Any], name: str, owner: object) -> DeviceView:
    if interface.get("mask") is not None:
        raise InputError(f"{name} is masked; expected an array without a mask. Fill it first.")
    address, read_only = interface["data"]
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    strides = _explicit_strides(interface.get("strides"), shape, dtype.itemsize)
    stream = interface.get("stream")
    return DeviceView(name, address, shape, strides, dtype, bool(read_only), stream, owner)


def _from_dlpack(array: Any, name: str, stream: CallerStream | None) -> DeviceView:
    kind, _ = array.__dlpack_device__()
    if kind != dlpack.CUDA:
        where = "in host memory" if kind == dlpack.CPU else f"on a device of DLPack type {kind}"
        raise InputError(
            f"{name} is {where}; expected an array on the GPU. On the host, use infer."
        )
    # The producer makes the reader's stream wait for the producer's unfinished work.
    reader = LEGACY_DEFAULT_STREAM if stream is None else stream.handle or LEGACY_DEFAULT_STREAM
    capsule = array.__dlpack__(stream=reader)
    tensor = dlpack.read_capsule(capsule)
    strides = _explicit_strides(tensor.strides, tensor.shape, tensor.dtype.itemsize)
    owner = (array, capsule)
    return DeviceView(name, tensor.address, tensor.shape, strides, tensor.dtype, False, None, owner)


def _explicit_strides(
    strides: tuple[int, ...] | None, shape: tuple[int, ...], itemsize: int
) -> tuple[int, ...]:
    """Return strides of a C-contiguous array for None and for axes of length 1, else the given."""
    contiguous = c_strides(shape, itemsize)
    if strides is None:
        return contiguous
    axes = zip(shape, strides, contiguous, strict=True)
    return tuple(default if length == 1 else given for length, given, default in axes)
