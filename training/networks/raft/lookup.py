"""RAFT's correlation volume and its look-up, as published (corr.py)."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 4


def correlation_pyramid(first: Tensor, second: Tensor) -> list[Tensor]:
    """Correlate each pixel of the first image with each of the second, at four resolutions.

    Args:
        first: features of the first image, (N, C, h, w).
        second: features of the second image.

    Returns:
        Four volumes (N * h * w, 1, h / 2**level, w / 2**level) of products divided by sqrt(C); an
        odd last row or column is left out of the means.
    """
    batch, channels, height, width = first.shape
    pixels = first.flatten(2).transpose(1, 2)  # (N, h * w, C)
    volume = pixels @ second.flatten(2) / channels**0.5
    levels = [volume.reshape(batch * height * width, 1, height, width)]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def look_up(pyramid: list[Tensor], coordinates: Tensor, radius: int) -> Tensor:
    """Sample a window of each level around the pixel that each pixel has moved to.

    Args:
        pyramid: from `correlation_pyramid`.
        coordinates: (N, 2, h, w), x then y, in pixels of the second image's features.
        radius: windows have 2 * radius + 1 pixels a side, one apart at each level.

    Returns:
        (N, 4 * (2 * radius + 1)**2, h, w): level by level, columns outside, rows inside; bilinear,
        zero outside the image.
    """
    batch, _, height, width = coordinates.shape
    centres = coordinates.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    steps = torch.arange(-radius, radius + 1, dtype=centres.dtype, device=centres.device)
    window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)  # x outside
    samples = []
    for level, volume in enumerate(pyramid):
        rows, columns = volume.shape[-2:]
        size = torch.tensor((columns - 1, rows - 1), dtype=centres.dtype, device=centres.device)
        grid = 2 * (centres / 2**level + window) / size - 1
        sampled = F.grid_sample(volume, grid, align_corners=True)
        samples.append(sampled.reshape(batch, height, width, -1))
    return torch.cat(samples, dim=-1).permute(0, 3, 1, 2)
