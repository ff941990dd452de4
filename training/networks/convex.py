"""Upsampling of a flow field by weights that follow the image, so that outlines stay sharp."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layers import LEAK

FACTOR = 2
_MIN_WEIGHT = 0.002  # initial weight of neighbours that bilinear upsampling does not read


class ConvexUpsampling(nn.Module):
    """Doubles a flow's resolution, each pixel a convex combination of 3x3 neighbours.

    As in RAFT (arXiv 2003.12039, section 3.3), but the weights are predicted from the image, too.

    Args:
        hidden: channels of the layer that the flow was predicted from.
        edges: channels of the image's features.
    """

    def __init__(self, hidden: int, *, edges: int = 16) -> None:
        super().__init__()
        self.edges = nn.Sequential(nn.Conv2d(3, edges, 4, 2, 1), nn.LeakyReLU(LEAK))
        self.weights = nn.Conv2d(hidden + edges, 9 * FACTOR**2, 1)

    def init_bilinear(self) -> None:
        """Initialise the weights as those of bilinear upsampling, whatever the image."""
        taps = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
        bilinear = torch.einsum("ay,bx->yxab", taps, taps).reshape(-1).clamp(min=_MIN_WEIGHT)
        with torch.no_grad():
            self.weights.weight.zero_()
            cast(Tensor, self.weights.bias).copy_(bilinear.log())

    def forward(self, flow: Tensor, hidden: Tensor, image: Tensor) -> Tensor:
        """Upsample a flow.

        Args:
            flow: (N, 2, H, W).
            hidden: (N, C, H, W).
            image: the first image at twice the flow's resolution, (N, 3, 2 H, 2 W).

        Returns:
            (N, 2, 2 H, 2 W), at least float32.
        """
        flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
        _, _, height, width = flow.shape
        features = torch.cat((hidden, self.edges(image)), dim=1)
        weights = self.weights(features).to(flow.dtype).unflatten(1, (9, FACTOR**2)).softmax(dim=1)
        padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
        neighbours = torch.stack(
            [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)], dim=1
        )
        # Axis by axis, without a product of small matrices for each pixel.
        parts = [(weights * neighbours[:, :, axis : axis + 1]).sum(dim=1) for axis in range(2)]
        return F.pixel_shuffle(torch.cat(parts, dim=1), FACTOR)
