"""Lay images out for a network: batch axis, 8 bits, RGB, padding."""

import numpy as np

from engine.types import Array, Image


def padded_size(height: int, width: int, divisor: int, smallest: int = 1) -> tuple[int, int]:
    """Return height and width, each rounded up to a multiple of ``divisor``.

    Args:
        height: in pixels.
        width: in pixels.
        divisor: of the network.
        smallest: least height and width that the network takes.
    """
    height, width = max(height, smallest), max(width, smallest)
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def network_input(
    image: Array, size: tuple[int, int], *, bgr: bool = False, copy: bool = False
) -> Image:
    """Return an image as a network takes it: (N, height, width, 3) uint8 RGB, C-contiguous.

    Args:
        image: (H, W, 3) or (N, H, W, 3), a result of ``checked_image``. Floats in 0..1 are rounded
            to 8 bits.
        size: height and width of the result; rows are added at the bottom and columns on the
            right, copies of the last ones.
        bgr: whether the image's channels are in the order BGR.
        copy: whether the result must not share memory with the image. Otherwise a contiguous
            uint8 RGB image of this size is returned as a view.
    """
    batch = image if image.ndim == 4 else image[np.newaxis]
    if batch.dtype != np.uint8:
        batch = _eight_bits(batch)
    count, height, width, _ = batch.shape
    if (height, width) == size and batch.flags.c_contiguous and not (bgr or copy):
        return batch
    out = np.empty((count, *size, 3), np.uint8)
    if bgr or batch.strides[-1] != 1:
        # Channel by channel: numpy copies a reversed last axis element by element, 5 times slower.
        for channel in range(3):
            out[:, :height, :width, channel] = batch[..., 2 - channel if bgr else channel]
    else:
        out[:, :height, :width] = batch
    out[:, :height, width:] = out[:, :height, width - 1 : width]
    out[:, height:] = out[:, height - 1 : height]
    return out


def _eight_bits(image: Array) -> Image:
    """Round floats in 0..1 to the nearest of 256 levels, the levels of a camera's images."""
    levels = np.multiply(image, np.float32(255), dtype=np.float32)
    np.rint(levels, out=levels)
    return levels.astype(np.uint8)
