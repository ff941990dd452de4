"""Other libraries' arrays on a GPU, and their streams: read where they are, or refused with advice.

Through the CUDA Array Interface (PyTorch, CuPy, PyCUDA, Numba), else through DLPack.
https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.registry import one_line
from engine.cuda import dlpack
from engine.errors import InputError

LEGACY_DEFAULT_STREAM = 1  # CU_STREAM_LEGACY; 0 means the same, but neither protocol allows it


@dataclass(frozen=True)
class CallerStream:
    """A stream that is somebody else's; its ``handle`` is valid as long as ``owner`` is there."""

    handle: int
    owner: object


@dataclass(frozen=True)
class DeviceView:
    """Somebody else's array on a GPU.

    Attributes:
        name: what the error messages call it.
        address: of the first element.
        shape: as it was given.
        strides: in bytes; of an axis of length 1, as if the array were contiguous.
        dtype: of an element.
        read_only: whether its owner says so.
        stream: handle of the stream in which its content becomes ready; None: it is ready.
        owner: keeps the memory.
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
        """Whether it lies in C order without gaps."""
        return self.strides == c_strides(self.shape, self.dtype.itemsize)


def c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the strides, in bytes, of an array in C order without gaps."""
    strides: list[int] = []
    for length in reversed(shape):
        strides.insert(0, itemsize)
        itemsize *= length
    return tuple(strides)


def caller_stream(stream: object) -> CallerStream | None:
    """Return the stream behind a handle or a library's object; None for None.

    Raises:
        InputError: It is neither.
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
    """Return a device array as an image, or say what is wrong with it.

    Args:
        image: (H, W, 3) or (N, H, W, 3) uint8; rows, and images, may lie apart.
        name: what the error messages call it.
        stream: the one in which it will be read.

    Raises:
        InputError: It is no device array, or not as above.
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
            "bytes each (rows may lie apart). Make it contiguous on the device, e.g. "
            f"{name}.contiguous() or cupy.ascontiguousarray({name})."
        )
    return view


def flow_view(out: object, shape: tuple[int, ...], stream: CallerStream | None) -> DeviceView:
    """Return a device array as the place for a flow of ``shape``, or say what is wrong with it.

    Raises:
        InputError: It is no device array, not float32, of another shape, not C-contiguous or
            read-only.
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
    except Exception as error:  # each library's own, e.g. for a tensor that requires a gradient
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
    strides = _written_out(interface.get("strides"), shape, dtype.itemsize)
    stream = interface.get("stream")
    return DeviceView(name, address, shape, strides, dtype, bool(read_only), stream, owner)


def _from_dlpack(array: Any, name: str, stream: CallerStream | None) -> DeviceView:
    kind, _ = array.__dlpack_device__()
    if kind != dlpack.CUDA:
        where = "in host memory" if kind == dlpack.CPU else f"on a device of DLPack type {kind}"
        raise InputError(
            f"{name} is {where}; expected an array on the GPU. On the host, use infer."
        )
    # The producer makes the reader's stream wait for what it has not finished.
    reader = LEGACY_DEFAULT_STREAM if stream is None else stream.handle or LEGACY_DEFAULT_STREAM
    capsule = array.__dlpack__(stream=reader)
    tensor = dlpack.read_capsule(capsule)
    strides = _written_out(tensor.strides, tensor.shape, tensor.dtype.itemsize)
    owner = (array, capsule)
    return DeviceView(name, tensor.address, tensor.shape, strides, tensor.dtype, False, None, owner)


def _written_out(
    strides: tuple[int, ...] | None, shape: tuple[int, ...], itemsize: int
) -> tuple[int, ...]:
    """Return the strides also where none are given; an axis of length 1 may have come with any."""
    plain = c_strides(shape, itemsize)
    if strides is None:
        return plain
    axes = zip(shape, strides, plain, strict=True)
    return tuple(ours if length == 1 else given for length, given, ours in axes)
