"""The correlation in plain torch operators: any device, any floating type, no compiled library.

As in the compiled kernels, columns are split by residue modulo stride_2, so that a row of f1
against a shifted row of f2 is a matrix product of which a diagonal band is kept.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation(f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int) -> Tensor:
    """Forward pass; arguments and result as in ``kernels.reference``, in the inputs' type."""
    width, count = f1.shape[3], 2 * (max_displacement // stride_2) + 1
    first = _rows(f1, stride_2) / f1.shape[1]
    bands = []
    for shifted in _shifted_rows(f2, max_displacement, stride_2):
        product = first @ shifted.transpose(-1, -2)
        bands.append(_columns(_band(product, count), stride_2, width))
    return torch.cat(bands, dim=1).to(f1.dtype)


def gradients(
    grad: Tensor, f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to f1 and f2."""
    channels, height, width = f1.shape[1:]
    count = 2 * (max_displacement // stride_2) + 1
    radius = count // 2
    first = _rows(f1, stride_2)
    columns = first.shape[-2]
    grad1 = torch.zeros_like(first)
    padded = first.new_zeros(
        first.shape[0], height + 2 * max_displacement, stride_2, columns + 2 * radius, channels
    )
    shifted_rows = _shifted_rows(f2, max_displacement, stride_2)
    for i, (weights, shifted) in enumerate(
        zip(grad.split(count, dim=1), shifted_rows, strict=True)
    ):
        full = _unband(_rows(weights, stride_2) / channels)
        grad1 += full @ shifted
        padded[:, i * stride_2 : i * stride_2 + height] += full.transpose(-1, -2) @ first
    inner = padded[:, max_displacement : max_displacement + height, :, radius : radius + columns]
    return (
        _columns(grad1, stride_2, width).to(f1.dtype),
        _columns(inner, stride_2, width).to(f2.dtype),
    )


def _rows(features: Tensor, stride: int) -> Tensor:
    """(N, C, H, W) -> (N, H, residue, column, C) in at least float32."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    features = F.pad(features, (0, -features.shape[3] % stride))
    return features.unflatten(3, (-1, stride)).permute(0, 2, 4, 3, 1).contiguous()


def _columns(rows: Tensor, stride: int, width: int) -> Tensor:
    """The inverse of ``_rows``."""
    return rows.permute(0, 4, 1, 3, 2).flatten(3)[..., :width]


def _shifted_rows(f2: Tensor, max_displacement: int, stride: int) -> Iterator[Tensor]:
    """For each vertical displacement the rows of f2, with `radius` zero columns on both sides."""
    radius, height = max_displacement // stride, f2.shape[2]
    vertical = (max_displacement, max_displacement)
    padded = F.pad(_rows(f2, stride), (0, 0, radius, radius, 0, 0, *vertical))
    for start in range(0, 2 * max_displacement + 1, stride):
        yield padded[:, start : start + height]


def _band(product: Tensor, count: int) -> Tensor:
    """(..., n, n + count - 1) -> (..., n, count): row i from its own column i on."""
    rows, length = product.shape[-2:]
    flat = F.pad(product.flatten(-2), (0, rows))
    return flat.unflatten(-1, (rows, length + 1))[..., :count]


def _unband(band: Tensor) -> Tensor:
    """The inverse of ``_band``, zero outside the band."""
    rows, count = band.shape[-2:]
    length = rows + count - 1
    flat = F.pad(band, (0, length + 1 - count)).flatten(-2)
    return flat[..., : rows * length].unflatten(-1, (rows, length))
