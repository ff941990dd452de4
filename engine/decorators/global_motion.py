"""Global motion compensation: shift the second image by the dominant motion before inference.

Under camera motion or between stereo images most pixels share one motion, and the networks are most
accurate where motion is small. The dominant motion is the median of the flow of a copy with a
sixteenth of the pixels.

The estimate is not verified: where a texture repeats or most of an image is flat, it may be wrong
by a whole period, and so is the flow then.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Backend
from engine.decorators.base import BackendDecorator
from engine.images import network_input, padded_size
from engine.types import Flow, Image

# Subsampling of the copy in each direction; 2 hardly improves the estimate.
_STEP = 4
# The networks predict flow at a quarter of the resolution; values in between are interpolated.
_FLOW_STEP = 4


class GlobalMotionBackend(BackendDecorator):
    """Backend decorator that compensates global motion before inference."""

    def __init__(self, backend: Backend, divisor: int, smallest: int = 1) -> None:
        """Take ownership of a backend; ``divisor`` and ``smallest`` as in its manifest."""
        super().__init__(backend, "motion compensated")
        self._divisor = divisor
        self._smallest = smallest

    def run(self, first: Image, second: Image) -> Flow:
        """See ``Backend.run``."""
        motion = self._global_motion(first, second)
        flow = self._flow(first, shift(second, motion))
        for one, offset in zip(flow, motion.astype(np.float32), strict=True):
            for axis in (0, 1):  # numpy is slower on both components at once
                one[..., axis] += offset[axis]
        return flow

    def _flow(self, first: Image, second: Image) -> Flow:
        prepared: list[Any] = [self._backend.prepare(image) for image in (first, second)]
        return self._backend.run(*prepared)

    def _global_motion(self, first: Image, second: Image) -> NDArray[np.int64]:
        """Return the dominant motion of each pair, (N, 2), x then y, in pixels."""
        # A copy smaller than the divisor would be mostly padding.
        step = min(max(min(first.shape[1:3]) // max(self._divisor, self._smallest), 1), _STEP)
        small = [image[:, ::step, ::step] for image in (first, second)]
        height, width = small[0].shape[1:3]
        size = padded_size(height, width, self._divisor, self._smallest)
        if self.profile is not None:
            _, *least = self.profile.min
            size = max(size[0], least[0]), max(size[1], least[1])
        flow = self._flow(*(network_input(image, size) for image in small))
        inside = flow[:, :height, :width][:, ::_FLOW_STEP, ::_FLOW_STEP]
        motion = np.nan_to_num(np.rint(np.median(inside, axis=(1, 2)) * step))
        height, width = first.shape[1:3]
        limit = np.array((width - 1, height - 1))
        whole: NDArray[np.int64] = motion.clip(-limit, limit).astype(np.int64)
        return whole


def shift(images: Image, motion: NDArray[np.int64]) -> Image:
    """Return images whose pixel (x, y) is the pixel (x + motion[0], y + motion[1]) of ``images``.

    Pixels outside the image are replaced by the nearest pixel of the border.

    Args:
        images: (N, H, W, 3) uint8, C-contiguous; returned unchanged if all motion is zero.
        motion: (N, 2), x then y, in pixels, smaller than the width and height.
    """
    if not motion.any():
        return images
    result = np.empty_like(images)
    height, width = images.shape[1:3]
    for image, shifted, (x, y) in zip(images, result, motion.tolist(), strict=True):
        rows, top, bottom = _overlap(y, height)
        columns, left, right = _overlap(x, width)
        shifted[top:bottom, left:right] = image[rows, columns]
        shifted[top:bottom, :left] = shifted[top:bottom, left : left + 1]
        shifted[top:bottom, right:] = shifted[top:bottom, right - 1 : right]
        shifted[:top] = shifted[top]
        shifted[bottom:] = shifted[bottom - 1]
    return result


def _overlap(offset: int, length: int) -> tuple[slice, int, int]:
    """Return the part of an axis that stays inside, and its start and stop in the result."""
    start, stop = max(0, -offset), length - max(0, offset)
    return slice(start + offset, stop + offset), start, stop
