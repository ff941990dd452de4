"""Arrays of other libraries in the fake device's memory, by either protocol."""

from typing import Any

import numpy as np

from tests.contract.fake_device import Mark
from tests.contract.fake_pycuda import FakeDriver


class CudaArray:
    """By the CUDA Array Interface. ``array`` is numpy's view of the device memory.

    Rows lie ``gap`` bytes apart, and the first element ``offset`` bytes behind an aligned address.
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
        """Write, at once or as work of a stream."""
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
    """By DLPack alone; the capsules are numpy's. What fills it is the work of ``stream``."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise AttributeError

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int | None = None) -> object:
        assert stream not in (None, 0), "no stream of CUDA's, and an ambiguous one"
        if self.stream is not None:
            self.cu.queues[stream].submit(Mark(self.cu.queues[self.stream]).reach)
        return self.array.__dlpack__()


class TorchStream:
    def __init__(self, handle: int) -> None:
        self.cuda_stream = handle


class CupyStream:
    def __init__(self, handle: int) -> None:
        self.ptr = handle
