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
from engine.images.resizing import limited, resized


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
        import_opencv("max_side")
        self._padding = divisor, smallest
        self._longest, _ = padded_size(max_side, max_side, divisor, smallest)

    def network_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See ``BackendDecorator.network_size``."""
        return super().network_size(padded_size(*limited(size, self._longest), *self._padding))

    def prepare(self, image: Images) -> _Prepared:
        """See ``Backend.prepare``; the image is downscaled by the mean over areas."""
        height, width = image.shape[1:3]
        small = limited((height, width), self._longest)
        if small != (height, width):
            image = np.stack([resized(one, small) for one in image])
            image = network_input(image, padded_size(*small, *self._padding))
        return _Prepared(self._backend.prepare(image), (height, width))

    def run(self, first: _Prepared, second: _Prepared) -> Flows:
        """See ``Backend.run``; each axis of the flow is scaled by its own ratio."""
        flow = self._backend.run(first.image, second.image)
        height, width = first.size
        rows, columns = limited(first.size, self._longest)
        if (rows, columns) == first.size:
            return flow
        ratios = np.array((width / columns, height / rows), np.float32)
        flows = [resized(one * ratios, first.size) for one in flow[:, :rows, :columns]]
        return np.stack(flows) if len(flows) > 1 else flows[0][np.newaxis]  # not copied
