"""The correlation in numpy: the specification that every other implementation is tested against."""

from collections.abc import Iterator
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from kernels.arguments import check_shapes, displacement_count

Array = NDArray[np.float64]
Region = tuple[EllipsisType, slice, slice]


def correlation(
    f1: NDArray[np.floating], f2: NDArray[np.floating], *, max_displacement: int, stride_2: int
) -> Array:
    """Correlate two feature maps; the layer of FlowNetC (arXiv 1504.06852, section 3).

    Args:
        f1: features of the first image, (N, C, H, W).
        f2: features of the second image, of the same shape.
        max_displacement: largest displacement along each axis, in feature-map pixels.
        stride_2: step between displacements.

    Returns:
        (N, K, H, W) float64 with K = (2 * max_displacement / stride_2 + 1) ** 2.

    Raises:
        CorrelationError: shapes differ, or max_displacement is not a multiple of stride_2.
    """
    check_shapes(f1.shape, f2.shape)
    count = displacement_count(max_displacement, stride_2)
    first, second = f1.astype(np.float64), f2.astype(np.float64)
    batch, _, height, width = f1.shape
    out = np.zeros((batch, count**2, height, width))
    for k, here, there in _overlaps(height, width, max_displacement, stride_2):
        out[:, k][here] = (first[here] * second[there]).mean(axis=1)
    return out


def correlation_gradients(
    grad: NDArray[np.floating],
    f1: NDArray[np.floating],
    f2: NDArray[np.floating],
    *,
    max_displacement: int,
    stride_2: int,
) -> tuple[Array, Array]:
    """Gradients of ``sum(grad * correlation(f1, f2))`` with respect to f1 and f2, float64."""
    check_shapes(f1.shape, f2.shape)
    displacement_count(max_displacement, stride_2)
    first, second = f1.astype(np.float64), f2.astype(np.float64)
    weight = grad.astype(np.float64) / f1.shape[1]
    grad1, grad2 = np.zeros_like(first), np.zeros_like(second)
    height, width = f1.shape[2:]
    for k, here, there in _overlaps(height, width, max_displacement, stride_2):
        grad1[here] += weight[:, k, None][here] * second[there]
        grad2[there] += weight[:, k, None][here] * first[here]
    return grad1, grad2


def _overlaps(
    height: int, width: int, max_displacement: int, stride_2: int
) -> Iterator[tuple[int, Region, Region]]:
    """Each channel k with the region of f1 whose displaced pixels exist, and that region of f2."""
    steps = range(-max_displacement, max_displacement + 1, stride_2)
    for k, (dy, dx) in enumerate((dy, dx) for dy in steps for dx in steps):
        rows, columns = _overlap(height, dy), _overlap(width, dx)
        yield k, (..., rows[0], columns[0]), (..., rows[1], columns[1])


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Where index i and index i + shift both lie inside 0..size-1, as slices of i and i + shift."""
    start, stop = max(0, -shift), min(size, size - shift)
    stop = max(start, stop)
    return slice(start, stop), slice(start + shift, stop + shift)
