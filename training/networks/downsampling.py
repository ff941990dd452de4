"""Means of 2x2 and 4x4 pixels, as runtimes compute them fast."""

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


def quarter_pixels(image1: Tensor, image2: Tensor) -> Tensor:
    """Return the means of 4x4 pixels of a pair of images.

    One operator of exported graphs, too.

    Args:
        image1: first image, uint8 (N, H, W, C); H and W multiples of 4.
        image2: second image, likewise.

    Returns:
        (N, 2 C, H / 4, W / 4) float32, the planes of the first image, then of the second.
    """
    # TensorRT takes a uint8 input only straight into a Cast: cast first, each image by itself.
    pair = torch.cat([image.float().permute(0, 3, 1, 2) for image in (image1, image2)], dim=1)
    return quarter(pair)


def quarter(planes: Tensor) -> Tensor:
    """Return the means of 4x4 pixels of (N, C, H, W) by a convolution; H and W multiples of 4."""
    each = torch.eye(planes.shape[1], dtype=planes.dtype, device=planes.device)[..., None, None]
    return F.conv2d(planes, (each / 16).expand(-1, -1, 4, 4), stride=4)


def halve_images(planes: Tensor) -> Tensor:
    """Return the means of 2x2 pixels by a convolution: in OpenVINO faster for large planes.

    One operator of exported graphs (`export.graph.operators`).

    Args:
        planes: (N, C, H, W), which convolutions read, too; H and W even.
    """
    each = torch.eye(planes.shape[1], dtype=planes.dtype, device=planes.device)[..., None, None]
    return F.conv2d(planes, (each / 4).expand(-1, -1, 2, 2), stride=2)
