"""DLPack capsules with NumPy and PyTorch as consumers and as producers, on the CPU."""

import ctypes
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cuda import dlpack

torch = pytest.importorskip("torch", reason="torch is not installed")


class Owner:
    """Owns memory, and must live as long as the memory is in use."""

    def __init__(self, array):
        self.array = array

    def capsule(self, device=(dlpack.CPU, 0)):
        array = self.array
        return dlpack.make_capsule(
            self, array.ctypes.data, array.shape, array.strides, array.dtype, device
        )


class Producer:
    """Passes a capsule to consumers of objects with ``__dlpack__``."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack_device__(self):
        return dlpack.CPU, 0

    def __dlpack__(self, **_):
        return self.capsule


def name_of(capsule):
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)
    return get_name(("PyCapsule_GetName", ctypes.pythonapi))(capsule)


def content_of(capsule):
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    return get_pointer(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, b"dltensor")


def cropped(dtype):
    """A view with gaps between its rows and between its images."""
    whole = np.arange(2 * 5 * 7 * 2).reshape(2, 5, 7, 2).astype(dtype)
    return whole[:, :4, :6]


CONSUMERS = {
    "numpy": lambda capsule: np.from_dlpack(Producer(capsule)),
    "torch": torch.from_dlpack,
}


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("consume", CONSUMERS.values(), ids=CONSUMERS)
def test_consumers_share_the_memory_and_free_it_once(consume, dtype):
    owner = Owner(cropped(dtype))
    values, alive = owner.array, weakref.ref(owner)
    capsule = owner.capsule()
    assert name_of(capsule) == b"dltensor"
    consumed = consume(capsule)
    assert name_of(capsule) == b"used_dltensor"
    np.testing.assert_array_equal(np.asarray(consumed), values)
    values[1, 2, 3] = 77
    assert (np.asarray(consumed)[1, 2, 3] == 77).all()
    del owner, capsule
    gc.collect()
    assert alive() is not None
    del consumed
    gc.collect()
    assert alive() is None


def test_an_unconsumed_capsule_is_freed():
    owner = Owner(cropped(np.float32))
    alive = weakref.ref(owner)
    capsule = owner.capsule()
    del owner
    assert alive() is not None
    del capsule
    assert alive() is None


def test_a_capsule_is_freed_while_an_exception_is_handled():
    def lose(owner):
        capsule = owner.capsule()
        raise RuntimeError(name_of(capsule))

    owner = Owner(cropped(np.float32))
    alive = weakref.ref(owner)
    with pytest.raises(RuntimeError, match="dltensor"):
        lose(owner)
    del owner
    gc.collect()
    assert alive() is None


def test_the_device_of_a_capsule():
    capsule = Owner(cropped(np.float32)).capsule((dlpack.CUDA, 3))
    # dlpack.h: the type of the device and its index, int32 each, after a pointer.
    assert list((ctypes.c_int32 * 2).from_address(content_of(capsule) + 8)) == [2, 3]


def test_the_offset_of_the_first_element():
    array = cropped(np.uint8)
    capsule = array.__dlpack__()
    # dlpack.h: after the pointer, the device, the rank, the type and two more pointers.
    offset = ctypes.c_uint64.from_address(content_of(capsule) + 40)
    assert offset.value == 0
    offset.value = 24
    assert dlpack.read_capsule(capsule).address == array.ctypes.data + 24


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "float16", "float32", "float64"])
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_capsules_of_torch_are_read(dtype, shape, seed):
    order = torch.randperm(len(shape), generator=torch.Generator().manual_seed(seed)).tolist()
    tensor = torch.zeros([n + 1 for n in shape], dtype=getattr(torch, dtype)).permute(order)[1:]
    read = dlpack.read_capsule(tensor.__dlpack__())
    assert (read.address, read.shape) == (tensor.data_ptr(), tuple(tensor.shape))
    assert read.dtype == np.dtype(dtype)
    steps = [n * tensor.element_size() for n in tensor.stride()]
    # torch writes the stride of an axis of length 1 as 1.
    for length, actual, expected in zip(tensor.shape, read.strides, steps, strict=True):
        assert length == 1 or actual == expected


def test_reading_does_not_consume():
    array = cropped(np.uint8).view(np.ndarray)
    alive = weakref.ref(array)
    capsule = array.__dlpack__()
    read = dlpack.read_capsule(capsule)
    assert (read.address, read.shape, read.strides) == (
        array.ctypes.data, array.shape, array.strides,
    )  # fmt: skip
    assert name_of(capsule) == b"dltensor"
    del array
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


def test_capsules_that_cannot_be_read():
    used = cropped(np.uint8).__dlpack__()
    torch.from_dlpack(used)
    for capsule, message in (
        (used, "incorrect name"),
        (cropped(np.uint8).__dlpack__(max_version=(1, 0)), "incorrect name"),
        (None, "invalid PyCapsule"),
        (torch.zeros(2, dtype=torch.bfloat16).__dlpack__(), "DLPack type code 4, 16 bits, 1 lanes"),
    ):
        with pytest.raises(ValueError, match=message):
            dlpack.read_capsule(capsule)
