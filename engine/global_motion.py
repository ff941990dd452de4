"""The motion that most of a picture shares, taken out before the network looks.

A camera that pans and two cameras side by side move everything, and networks are most exact where
little moves. A copy of a sixteenth of the pixels tells by how much: the median of its flow. The
second image is moved back by that, and the flow gets it added.

Nothing checks that motion: where a texture repeats, or most of a picture is flat, it may be wrong
by a whole period, and the flow then is too.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Backend
from engine.images import network_input, padded_size

# Every so many pixels of a row and column are in the copy. Twice as many find hardly better motion.
_STEP = 4
# Networks give flow at a quarter of the resolution; between that are means.
_FLOW_STEP = 4


class AlignedBackend:
    """A backend with that around it; a ``Backend``."""

    def __init__(self, backend: Backend, divisor: int) -> None:
        """Take over a backend, and say what its heights and widths have to be multiples of."""
        self._backend = backend
        self._divisor = divisor
        self.name = f"{backend.name} (aligned)"
        self.device = backend.device
        self.runtime_version = backend.runtime_version
        self.profile = backend.profile

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image: what concerns it alone depends on how far it is moved."""
        return image

    def run(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        motion = self._shared_motion(first, second)
        flow = self._flow(first, moved_back(second, motion))
        for one, shared in zip(flow, motion.astype(np.float32), strict=True):
            for axis in (0, 1):  # both at once numpy adds pixel by pixel
                one[..., axis] += shared[axis]
        return flow

    def device_ms(self) -> float | None:
        """See ``Backend.device_ms``; of the second of the two runs."""
        return self._backend.device_ms()

    def close(self) -> None:
        """See ``Backend.close``."""
        self._backend.close()

    def _flow(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        prepared: list[Any] = [self._backend.prepare(image) for image in (first, second)]
        return self._backend.run(*prepared)

    def _shared_motion(
        self, first: NDArray[np.uint8], second: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Return (N, 2), x then y, in pixels."""
        # A copy smaller than one block of the network's would be mostly padding.
        step = min(max(min(first.shape[1:3]) // self._divisor, 1), _STEP)
        small = [image[:, ::step, ::step] for image in (first, second)]
        height, width = small[0].shape[1:3]
        size = padded_size(height, width, self._divisor)
        if self.profile is not None:
            _, *least = self.profile.min
            size = max(size[0], least[0]), max(size[1], least[1])
        flow = self._flow(*(network_input(image, size) for image in small))
        inside = flow[:, :height, :width][:, ::_FLOW_STEP, ::_FLOW_STEP]
        motion = np.nan_to_num(np.rint(np.median(inside, axis=(1, 2)) * step))
        height, width = first.shape[1:3]
        furthest = np.array((width - 1, height - 1))
        whole: NDArray[np.int64] = motion.clip(-furthest, furthest).astype(np.int64)
        return whole


def moved_back(images: NDArray[np.uint8], motion: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images in which what is at (x, y) was at (x + motion[0], y + motion[1]).

    What comes from outside is the nearest pixel of the border.

    Args:
        images: (N, H, W, 3) uint8, C-contiguous; returned themselves where nothing moves.
        motion: (N, 2), x then y, in pixels, less than the images are wide and high.
    """
    if not motion.any():
        return images
    result = np.empty_like(images)
    height, width = images.shape[1:3]
    for image, moved, (x, y) in zip(images, result, motion.tolist(), strict=True):
        rows, top, bottom = _overlap(y, height)
        columns, left, right = _overlap(x, width)
        moved[top:bottom, left:right] = image[rows, columns]
        moved[top:bottom, :left] = moved[top:bottom, left : left + 1]
        moved[top:bottom, right:] = moved[top:bottom, right - 1 : right]
        moved[:top] = moved[top]
        moved[bottom:] = moved[bottom - 1]
    return result


def _overlap(shift: int, length: int) -> tuple[slice, int, int]:
    """Where an axis of the source still lies in the result, and from where to where there."""
    start, stop = max(0, -shift), length - max(0, shift)
    return slice(start + shift, stop + shift), start, stop
