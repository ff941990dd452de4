"""From RAFT's flow at 1/8 of the resolution to the full one, as published (raft.py, utils.py)."""

import torch.nn.functional as F
from torch import Tensor


def upsample_bilinear(flow: Tensor) -> Tensor:
    """Upsample by 8 (small): (N, 2, h, w) in pixels of 1/8 to (N, 2, 8 h, 8 w) in pixels.

    Corners lie on corners (``align_corners=True``).
    """
    return 8 * F.interpolate(flow, scale_factor=8.0, mode="bilinear", align_corners=True)


def upsample_convex(flow: Tensor, mask: Tensor) -> Tensor:
    """Upsample by 8 (large), each pixel a convex combination of 3x3 neighbours, zero outside.

    Args:
        flow: (N, 2, h, w) in pixels of 1/8.
        mask: logits, (N, 9 * 8 * 8, h, w): neighbour, then row and column of the 8x8 pixels.

    Returns:
        (N, 2, 8 h, 8 w) in pixels.
    """
    batch, _, height, width = flow.shape
    weights = mask.reshape(batch, 1, 9, 8, 8, height, width).softmax(dim=2)
    neighbours = F.unfold(8 * flow, 3, padding=1).reshape(batch, 2, 9, 1, 1, height, width)
    pixels = (weights * neighbours).sum(dim=2)  # (N, 2, 8, 8, h, w)
    return pixels.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, 8 * height, 8 * width)
