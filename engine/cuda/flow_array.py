"""The array on a GPU that a flow comes back in, for any library that takes one over."""

import weakref
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.cuda import dlpack
from engine.cuda.device import Device
from engine.cuda.foreign_arrays import LEGACY_DEFAULT_STREAM, CallerStream, DeviceView, c_strides

NO_SYNCHRONIZATION = -1  # DLPack's


class DeviceArray:
    """Flow on a GPU. ``torch.as_tensor``, ``cupy.asarray`` and any ``from_dlpack`` take it over.

    They share its memory, which is there until the last of them is gone. It is freed when the GPU
    has nothing left to do, as somebody's kernel may still read it; where that wait matters, give
    ``infer_device`` an ``out``.

    Attributes:
        shape: (H, W, 2) or (N, H, W, 2).
        dtype: float32; in pixels, x then y.
        strides: in bytes. Rows lie apart where the images were padded.
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
        """Describe memory of ``gpu``: an ``allocation`` of its own, or what ``owner`` keeps.

        Its content becomes ready in ``stream``; None: it is ready.
        """
        self.shape = shape
        self.strides = strides
        self.device = f"cuda:{gpu.index}"
        self._gpu = gpu
        self._address = address
        self._owner = owner
        self._stream = stream
        if allocation is not None:
            # Also at exit: device memory has to go while CUDA is there.
            weakref.finalize(self, gpu.free, [allocation])

    def __repr__(self) -> str:
        """Return e.g. ``<DeviceArray (480, 640, 2) float32 on cuda:0>``."""
        return f"<DeviceArray {self.shape} {self.dtype} on {self.device}>"

    def numpy(self) -> NDArray[np.float32]:
        """Return a copy on the host, C-contiguous; waits for everything queued on the GPU.

        Raises:
            BackendError: The GPU failed.
        """
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        memory = self._gpu.download(self._address, last + self.dtype.itemsize)
        return np.ascontiguousarray(
            np.ndarray(self.shape, self.dtype, memory, strides=self.strides)
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The array by version 3 of the CUDA Array Interface."""
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
        """Return a DLPack capsule, an unversioned one, as ``max_version`` leaves open.

        Args:
            stream: handle of the consumer's stream, which is made to wait for the content; None:
                the legacy default stream; -1: nothing waits.
            max_version: the latest version that the consumer reads.
            dl_device: the device to be on: this one.
            copy: whether to copy: None or False.

        Raises:
            BufferError: A copy is asked for.
            BackendError: The GPU failed.
        """
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"{self!r} is not copied; use numpy() for a copy on the host.")
        if self._stream is not None and stream != NO_SYNCHRONIZATION:
            consumer = LEGACY_DEFAULT_STREAM if stream is None else stream
            self._gpu.join(self._stream.handle, consumer)
        return dlpack.make_capsule(
            self, self._address, self.shape, self.strides, self.dtype, self.__dlpack_device__()
        )


@runtime_checkable
class DeviceBackend(Protocol):
    """A ``Backend`` that takes images where they are, on its GPU."""

    def run_device(
        self,
        first: DeviceView,
        second: DeviceView,
        size: tuple[int, int],
        *,
        out: DeviceView | None,
        stream: CallerStream | None,
    ) -> DeviceArray:
        """Return the flow of two images, see ``FlowEngine.infer_device``.

        Args:
            first: the first image, from ``image_view``.
            second: the second one, of the same shape.
            size: (height, width) to pad to.
            out: where the flow goes, from ``flow_view``; None: into new memory.
            stream: the stream to be ordered in; None: wait for the flow.
        """
        ...
