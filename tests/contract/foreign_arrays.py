"""Arrays of other libraries in the fake device's memory, with either protocol."""

import itertools
from typing import Any

import numpy as np

from engine.cuda.flow_array import DeviceArray
from tests.contract.fake_device import Mark
from tests.contract.fake_pycuda import FakeDriver


class CudaArray:
    """An array with the CUDA Array Interface; ``array`` is a NumPy view of the device memory.

    Rows have gaps of ``gap`` bytes; the first element is ``offset`` bytes after an aligned address.
    """

    def __init__(
        self,
        cu: FakeDriver,
        shape: tuple[int, ...],
        dtype: Any = np.uint8,
        *,
        gap: int = 0,
        offset: int = 0,
        device: int = 0,
        stream: int | None = None,
    ) -> None:
        itemsize = np.dtype(dtype).itemsize
        strides = [itemsize, shape[-1] * itemsize]
        strides.append(shape[-2] * strides[-1] + gap)
        if len(shape) == 4:
            strides.append(shape[-3] * strides[-1] + gap)
        strides = tuple(reversed(strides))
        nbytes = shape[0] * strides[0] + offset
        address = cu.memories.add(nbytes, device)
        block = cu.memory(address, nbytes)[offset:]
        self.array = np.ndarray(shape, dtype, block, strides=strides)
        self.cu, self.device, self.stream = cu, device, stream

    def fill(self, values: np.ndarray, stream: int | None = None) -> "CudaArray":
        """Write ``values``, at once or as work of a stream."""
        if stream is None:
            self.array[:] = values
        else:
            self.cu.queues[stream].submit(lambda: np.copyto(self.array, values))
        return self

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.array.shape,
            "strides": None if self.array.flags.c_contiguous else self.array.strides,
            "typestr": self.array.dtype.str,
            "data": (self.array.ctypes.data, False),
            "stream": self.stream,
        }


class DlpackArray(CudaArray):
    """An array with DLPack only, with NumPy's capsules; ``stream`` fills it."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise AttributeError

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int | None = None) -> object:
        assert stream not in (None, 0), "DLPack forbids 0 for CUDA, and None is ambiguous"
        if self.stream is not None:
            self.cu.queues[stream].submit(Mark(self.cu.queues[self.stream]).reach)
        return self.array.__dlpack__()


class TorchStream:
    def __init__(self, handle: int) -> None:
        self.cuda_stream = handle


class CupyStream:
    def __init__(self, handle: int) -> None:
        self.ptr = handle


_seeds = itertools.count()


def images_of(shape: tuple[int, ...]) -> np.ndarray:
    """Two new random images, or batches of images, of a shape without channels."""
    return np.random.default_rng(next(_seeds)).integers(0, 256, (2, *shape, 3), dtype=np.uint8)


def on_device(
    cu: FakeDriver, images: Any, kind: type[CudaArray] = CudaArray, **layout: int
) -> list[CudaArray]:
    return [kind(cu, image.shape, **layout).fill(image) for image in images]


def content_of(cu: FakeDriver, flow: DeviceArray) -> np.ndarray:
    """The present content of a flow's memory, which may not be ready yet."""
    interface = flow.__cuda_array_interface__
    shape, strides = interface["shape"], interface["strides"]
    nbytes = np.dtype(np.float32).itemsize * int(np.prod(shape))
    if strides is not None:
        nbytes = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 4
    memory = cu.memory(interface["data"][0], nbytes)
    return np.ndarray(shape, np.float32, memory, strides=strides)
