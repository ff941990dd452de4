"""Batches of image pairs as tensors."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """A batch of image pairs with ground truth.

    Attributes:
        image1: (B, 3, H, W) uint8 RGB.
        image2: likewise.
        flow: (B, 2, H, W) float32, pixels, x then y, from image 1 to image 2; NaN where it is
            unknown.
        occluded: (B, 1, H, W) bool: the pixel of image 1 is hidden in image 2, or outside it.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    occluded: Tensor

    @classmethod
    def all_visible(cls, image1: Tensor, image2: Tensor, flow: Tensor) -> "PairBatch":
        """Return a batch of which no occlusion is known: every pixel counts as visible."""
        return cls(image1, image2, flow, torch.zeros_like(flow[:, :1], dtype=torch.bool))

    def to(self, device: torch.device | str) -> "PairBatch":
        """Copy to a device."""
        return PairBatch(*(getattr(self, field.name).to(device) for field in fields(self)))
