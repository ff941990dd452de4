"""Tensors on the device with page-locked memory on the host."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.cuda.device import Device


class Buffer:
    """A tensor on the device, with a page-locked copy on the host for asynchronous transfers.

    All its transfers are in one stream. Both sides grow for a larger tensor, and never shrink.
    """

    def __init__(self, device: Device, stream: Any, dtype: DTypeLike) -> None:
        """Allocate nothing yet."""
        self._driver = device.driver
        self._stream = stream
        self._dtype = np.dtype(dtype)
        self._shape: tuple[int, ...] = ()
        self._capacity = 0
        self._pinned: Any = None
        self._block: Any = None

    def reserve(self, shape: tuple[int, ...]) -> None:
        """Make room for ``shape``. This may change `address` and lose the content."""
        nbytes = math.prod(shape) * self._dtype.itemsize
        if nbytes > self._capacity:
            self._stream.synchronize()
            # Free the old memory first: the device may not have room for both.
            self._pinned = self._block = None
            self._capacity = 0
            self._block = self._driver.mem_alloc(nbytes)
            self._capacity = nbytes
        self._shape = shape

    @property
    def address(self) -> int:
        """The device address."""
        return int(self._block)

    @property
    def host(self) -> NDArray[Any]:
        """The page-locked array in the reserved shape; allocated on first use."""
        if self._pinned is None:
            self._pinned = self._driver.pagelocked_empty(self._capacity, np.uint8)
        nbytes = math.prod(self._shape) * self._dtype.itemsize
        array: NDArray[Any] = self._pinned[:nbytes].view(self._dtype).reshape(self._shape)
        return array

    def close(self) -> None:
        """Free both sides. No transfer may be in progress."""
        self.__dict__.clear()

    def upload(self) -> None:
        """Enqueue the copy from host to device."""
        self._driver.memcpy_htod_async(self._block, self.host, self._stream)

    def download(self) -> None:
        """Enqueue the copy from device to host."""
        self._driver.memcpy_dtoh_async(self.host, self._block, self._stream)
