"""Recurrent networks on the host: the memory of their volume, and the flow carried forward."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Backend, Flows, RecurrentBackend
from engine.bundle.manifest import Manifest
from engine.errors import BackendError, InputError
from engine.system.memory import available_bytes

_LEVELS = 4
# Runtimes address the values of a tensor with 32 bits.
_MOST_VALUES = 2**31 - 1
_BYTES = 4  # float32, also in an fp16 bundle


def volume_values(batch: int, height: int, width: int, stride: int) -> int:
    """Return how many values the correlations of all pairs of pixels have.

    Args:
        batch: number of pairs.
        height: of the padded images.
        width: of the padded images.
        stride: of the features.
    """
    rows, columns = height // stride, width // stride
    levels = sum((rows >> level) * (columns >> level) for level in range(_LEVELS))
    return batch * rows * columns * (levels + 1)  # and a zero for what lies outside


def check_memory(manifest: Manifest, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raise ``InputError`` if a network's volume does not fit in memory.

    Args:
        manifest: the bundle's manifest.
        shape: shape of an image, (H, W, 3) or (N, H, W, 3).
        size: padded height and width.
    """
    updates = manifest.recurrence
    if updates is None or updates.lookup != "volume":
        return
    batch = shape[0] if len(shape) == 4 else 1
    values = volume_values(batch, *size, updates.stride)
    available = available_bytes()
    if values > _MOST_VALUES:
        limit = f"runtimes take at most {_MOST_VALUES * _BYTES / 2**30:.1f} GiB for it"
    elif available is not None and values * _BYTES > available:
        limit = f"{available / 2**30:.1f} GiB are available"
    else:
        return
    raise InputError(
        f"{manifest.network}: the correlations of {batch} pair(s) of {size[0]}x{size[1]} need "
        f"{values * _BYTES / 2**30:.1f} GiB of memory; {limit}. Load the bundle with tile= or "
        "max_side=, use smaller images or batches, or rebuild it with --lookup on_the_fly."
    )


class WarmStart:
    """Runs the pairs of a video, each from the last one's flow."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        """Start without a flow.

        Raises:
            BackendError: the bundle or the backend cannot start from a flow.
        """
        if manifest.recurrence is None:
            raise BackendError(
                f"warm_start: {manifest.network} does not refine an initial flow, only RAFT does; "
                "leave it out"
            )
        recurrent = backend.recurrent if isinstance(backend, RecurrentBackend) else None
        if recurrent is None:
            raise BackendError(
                f"warm_start: backend {backend.name} with this bundle takes no initial flow; build "
                "a bundle with --split, and load it with backend openvino or onnxruntime, without "
                "compensate_motion, refine, tile and max_side"
            )
        self._recurrent = recurrent
        self._last: Flows | None = None

    def forget(self) -> None:
        """Start the next pair without a flow: it does not follow the last one."""
        self._last = None

    def run(self, first: Any, second: Any) -> Flows:
        """See ``Backend.run``."""
        start = None if self._last is None else carried_forward(self._last)
        flow, self._last = self._recurrent.run_from(start, first, second)
        return flow


def carried_forward(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move a flow along itself, as an initial value for the next pair of frames.

    Each pixel gets the vector that has moved nearest to it; vectors that leave the image do not
    count, nor do those on its first row and column (princeton-vl/RAFT, utils.py,
    ``forward_interpolate``). Without any vector left, the result is zero.

    Args:
        flow: (N, h, w, 2) in pixels of this resolution, x then y.

    Returns:
        The same shape.
    """
    moved = np.zeros_like(flow)
    for one, result in zip(flow, moved, strict=True):
        _carry_one(one, result)
    return moved


def _carry_one(flow: NDArray[np.float32], result: NDArray[np.float32]) -> None:
    height, width, _ = flow.shape
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    inside = (x > 0) & (x < width) & (y > 0) & (y < height)
    if not inside.any():
        return
    result[:] = flow[inside][_nearest(x[inside], y[inside], height, width)]


def _nearest(
    x: NDArray[np.floating], y: NDArray[np.floating], height: int, width: int
) -> NDArray[np.intp]:
    """Return the index of the point that is nearest to each pixel, (height, width)."""
    distance = np.full(height * width, np.inf)
    nearest = np.zeros(height * width, np.intp)
    points = np.arange(len(x))
    # Each point is compared with the 4x4 pixels around it, all of those nearer than two pixels.
    left, top = np.floor(x).astype(np.intp) - 1, np.floor(y).astype(np.intp) - 1
    for row in range(4):
        for column in range(4):
            i, j = top + row, left + column
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            pixels = i[inside] * width + j[inside]
            squares = (y[inside] - i[inside]) ** 2 + (x[inside] - j[inside]) ** 2
            np.minimum.at(distance, pixels, squares)
            best = squares == distance[pixels]
            nearest[pixels[best]] = points[inside][best]
    for pixel in np.flatnonzero(distance >= 4):  # gaps in the moved flow: with all points
        i, j = divmod(pixel, width)
        nearest[pixel] = np.argmin((y - i) ** 2 + (x - j) ** 2)
    return nearest.reshape(height, width)
