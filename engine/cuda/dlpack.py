"""Make and read DLPack capsules, which share memory between array libraries without a copy.

https://dmlc.github.io/dlpack/latest/ (``dlpack.h`` and the Python specification). Capsules are of
the unversioned kind, which every consumer accepts.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

CPU, CUDA = 1, 2  # DLDeviceType

Device = tuple[int, int]  # DLDeviceType and index, as __dlpack_device__ returns them

_NAME = b"dltensor"
_KINDS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}  # DLDataTypeCode -> numpy's kind


class _DLDevice(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DLDataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _DLTensor(ctypes.Structure):
    """Also the first member of ``DLManagedTensor``, whose other members only the producer uses."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", _DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


# A separate prototype: those of ctypes.pythonapi's attributes are shared by the whole process.
_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


@dataclass(frozen=True)
class Tensor:
    """The tensor of a capsule: ``strides`` are in bytes, None for C order."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[np.generic]


def read_capsule(capsule: object) -> Tensor:
    """Return the tensor of a capsule, without consuming the capsule.

    The memory stays valid as long as a reference to the capsule exists.

    Raises:
        ValueError: it is not a capsule, is of another kind, is already consumed, or has a data type
            that numpy lacks.
    """
    tensor = _tensor_in(capsule)
    kind, bits = _KINDS.get(tensor.dtype.code), int(tensor.dtype.bits)
    if kind is None or bits % 8 or tensor.dtype.lanes != 1:
        raise ValueError(
            f"DLPack type code {tensor.dtype.code}, {bits} bits, {tensor.dtype.lanes} lanes"
        )
    dtype: np.dtype[np.generic] = np.dtype(f"{kind}{bits // 8}")
    strides = None
    if tensor.strides:  # null for C order, before DLPack 1.2
        strides = tuple(steps * dtype.itemsize for steps in tensor.strides[: tensor.ndim])
    address = (tensor.data or 0) + tensor.byte_offset
    return Tensor(address, tuple(tensor.shape[: tensor.ndim]), strides, dtype)


def make_capsule(
    owner: object,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: DTypeLike,
    device: Device,
) -> object:
    """Return a new capsule for memory that ``owner`` keeps alive.

    The capsule, and after it its consumer, holds a reference to ``owner``.

    Args:
        owner: keeps the memory alive.
        address: of the first element.
        shape: of the tensor.
        strides: in bytes.
        dtype: of an element.
        device: of the memory.
    """
    # Let numpy make the capsule, since its destructor is C code that works in any thread, while an
    # exception is handled and at interpreter exit. numpy reads no element. Then set the device.
    array = np.asarray(_ArrayInterface(owner, address, shape, strides, np.dtype(dtype)))
    capsule: object = array.__dlpack__()
    _tensor_in(capsule).device = _DLDevice(*device)
    return capsule


class _ArrayInterface:
    """Array interface of the memory; numpy's array keeps a reference to it."""

    def __init__(
        self,
        owner: object,
        address: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype[np.generic],
    ) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "strides": strides,
            "typestr": dtype.str,
            "data": (address, False),
        }


def _tensor_in(capsule: object) -> _DLTensor:
    pointer = _pointer_in(capsule, _NAME)
    return ctypes.cast(pointer, ctypes.POINTER(_DLTensor)).contents
