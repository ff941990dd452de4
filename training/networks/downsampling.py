"""Halving of a feature map's resolution by means, as runtimes compute it fast."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cells(planes: Tensor) -> Tensor:
    """Return pixels by their place in a cell of 2x2: (N, C, 2 H, 2 W) to (N, C, 2, 2, H, W).

    A sum over a cell is then one of whole planes, which runtimes compute faster than pooling.
    """
    placed = planes.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return placed.permute(0, 1, 3, 5, 2, 4).contiguous()


def halve(planes: Tensor) -> Tensor:
    """Return the means of 2x2 pixels.

    Args:
        planes: (N, C, H, W) float32; H and W even.
    """
    (first, second), (third, fourth) = (row.unbind(2) for row in cells(planes).unbind(2))
    return (first + second + third + fourth) / 4


def halve_images(planes: Tensor) -> Tensor:
    """Return the means of 2x2 pixels by a convolution: in OpenVINO faster for large planes.

    One operator of exported graphs (`export.graph.operators`).

    Args:
        planes: (N, C, H, W), which convolutions read, too; H and W even.
    """
    each = torch.eye(planes.shape[1], dtype=planes.dtype, device=planes.device)[..., None, None]
    return F.conv2d(planes, (each / 4).expand(-1, -1, 2, 2), stride=2)
