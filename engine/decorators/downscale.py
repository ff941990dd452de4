"""Large images downscaled before inference; their flow is upscaled again.

Faster than tiles, and better where motion is larger than the network estimates well; what is small
in the image gets lost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.base import Backend, Flows, Images
from engine.decorators.base import BackendDecorator
from engine.images import network_input, padded_size
from engine.images.files import import_opencv
from engine.types import Array


@dataclass(frozen=True)
class _Prepared:
    """A prepared image and its height and width before it was downscaled."""

    image: Any
    size: tuple[int, int]


class DownscaledBackend(BackendDecorator):
    """Backend decorator that limits the longer side of the images; it never upscales them."""

    def __init__(self, backend: Backend, max_side: int, *, divisor: int, smallest: int = 1) -> None:
        """Take ownership of a backend.

        Args:
            backend: the backend.
            max_side: longest side that the network gets, rounded up to a multiple of ``divisor``.
            divisor: of the network.
            smallest: least height and width that the network takes.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
        """
        super().__init__(backend, f"max side {max_side}")
        self._cv2 = import_opencv("max_side")
        self._padding = divisor, smallest
        self._limit, _ = padded_size(max_side, max_side, divisor, smallest)

    def network_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See ``BackendDecorator.network_size``."""
        return super().network_size(padded_size(*self._scaled(size), *self._padding))

    def prepare(self, image: Images) -> _Prepared:
        """See ``Backend.prepare``; the mean of the pixels that fall into one."""
        height, width = image.shape[1:3]
        small = self._scaled((height, width))
        if small != (height, width):
            image = network_input(self._resized(image, small), padded_size(*small, *self._padding))
        return _Prepared(self._backend.prepare(image), (height, width))

    def run(self, first: _Prepared, second: _Prepared) -> Flows:
        """See ``Backend.run``; each axis of the flow is scaled by its own ratio."""
        flow = self._backend.run(first.image, second.image)
        height, width = first.size
        rows, columns = self._scaled(first.size)
        if (rows, columns) == first.size:
            return flow
        ratios = np.array((width / columns, height / rows), np.float32)
        return self._resized(flow[:, :rows, :columns] * ratios, first.size)

    def _resized(self, batch: Array, size: tuple[int, int]) -> Array:
        """Resize (N, H, W, C): by the mean over each pixel's area if smaller, else linearly."""
        shrinks = size[0] < batch.shape[1] or size[1] < batch.shape[2]
        mode = self._cv2.INTER_AREA if shrinks else self._cv2.INTER_LINEAR
        return np.stack([self._cv2.resize(one, size[::-1], interpolation=mode) for one in batch])

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width as they are if both are within the limit, else downscaled."""
        longest = max(size)
        if longest <= self._limit:
            return size
        height, width = (max(1, round(side * self._limit / longest)) for side in size)
        return height, width
