"""A flow on a GPU, shared with other libraries without a copy."""

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.cuda import dlpack
from engine.cuda.device import Device
from engine.cuda.foreign_arrays import LEGACY_DEFAULT_STREAM, CallerStream, c_strides

NO_SYNCHRONIZATION = -1  # of __dlpack__'s stream


class DeviceArray:
    """A flow on a GPU, for ``torch.as_tensor``, ``cupy.asarray`` and any ``from_dlpack``.

    Their arrays share its memory and keep it alive. Freeing it waits for all work on the GPU,
    because a kernel may still read it; pass ``out`` to ``infer_device`` to avoid that wait.

    Attributes:
        shape: (H, W, 2) or (N, H, W, 2).
        dtype: float32, in pixels, x then y.
        strides: in bytes; rows have gaps between them if the images were padded.
        device: e.g. ``"cuda:0"``.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        gpu: Device,
        address: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        allocation: object = None,
        owner: object = None,
        stream: CallerStream | None = None,
    ) -> None:
        """Describe memory on a GPU.

        Args:
            gpu: the GPU.
            address: of the first element.
            shape: (H, W, 2) or (N, H, W, 2).
            strides: in bytes.
            allocation: memory to free with this array.
            owner: an object that keeps the memory alive, if there is no ``allocation``.
            stream: the stream in which the content becomes ready; None: it is ready.
        """
        self.shape = shape
        self.strides = strides
        self.device = f"cuda:{gpu.index}"
        self._gpu = gpu
        self._address = address
        self._owner = owner
        self._stream = stream
        if allocation is not None:
            # Also at exit: device memory must be freed while CUDA is loaded.
            weakref.finalize(self, gpu.free, [allocation])

    def __repr__(self) -> str:
        """Return e.g. ``<DeviceArray (480, 640, 2) float32 on cuda:0>``."""
        return f"<DeviceArray {self.shape} {self.dtype} on {self.device}>"

    def numpy(self) -> NDArray[np.float32]:
        """Return a C-contiguous copy on the host, after all work queued on the GPU has finished.

        Raises:
            BackendError: the GPU failed.
        """
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        memory = self._gpu.download(self._address, last + self.dtype.itemsize)
        return np.ascontiguousarray(
            np.ndarray(self.shape, self.dtype, memory, strides=self.strides)
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the CUDA Array Interface."""
        contiguous = self.strides == c_strides(self.shape, self.dtype.itemsize)
        return {
            "version": 3,
            "shape": self.shape,
            "strides": None if contiguous else self.strides,
            "typestr": self.dtype.str,
            "data": (self._address, False),
            "stream": self._stream and (self._stream.handle or LEGACY_DEFAULT_STREAM),
        }

    def __dlpack_device__(self) -> dlpack.Device:
        """Return kDLCUDA and the index of the GPU."""
        return dlpack.CUDA, self._gpu.index

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: dlpack.Device | None = None,
        copy: bool | None = None,
    ) -> object:
        """Return an unversioned DLPack capsule, which every value of ``max_version`` permits.

        Args:
            stream: handle of the consumer's stream, which then waits for the content; None: the
                legacy default stream; -1: no stream waits.
            max_version: the latest version that the consumer reads.
            dl_device: the device of the capsule; only this array's own.
            copy: whether to copy; only None or False.

        Raises:
            BufferError: the consumer asks for a copy.
            BackendError: the GPU failed.
        """
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"{self!r} is not copied; use numpy() for a copy on the host.")
        if self._stream is not None and stream != NO_SYNCHRONIZATION:
            consumer = LEGACY_DEFAULT_STREAM if stream is None else stream
            self._gpu.join(self._stream.handle, consumer)
        return dlpack.make_capsule(
            self, self._address, self.shape, self.strides, self.dtype, self.__dlpack_device__()
        )
