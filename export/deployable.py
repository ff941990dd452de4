"""The network as it is deployed: raw images in, full-resolution flow in pixels out."""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


class Deployable(nn.Module):
    """A network with everything numerical around it, so that no runtime has to repeat it.

    Args:
        network: a network of `training.networks`; takes normalised (N, 3, H, W) images and
            returns flows, finest first, in pixels / ``flow_scale`` at 1 / ``output_stride``.
        normalisation: a module of `training.normalise`.
    """

    def __init__(self, network: nn.Module, normalisation: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.divisor = cast(int, network.divisor)
        self.flow_scale = cast(float, network.flow_scale)
        self.output_stride = cast(int, network.output_stride)

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Compute the flow from ``image1`` to ``image2``.

        Args:
            image1: first image, uint8 (N, H, W, 3) RGB; H and W multiples of ``divisor``.
            image2: second image, likewise.

        Returns:
            float32 (N, H, W, 2), x then y, pixels.
        """
        # TensorRT takes a uint8 input only straight into a Cast: cast first, each by itself.
        normalised = self.normalisation(
            image1.float().permute(0, 3, 1, 2), image2.float().permute(0, 3, 1, 2)
        )
        flow = self.network(*normalised)[0] * self.flow_scale
        # Half-pixel centres (align_corners=False) are how both published PyTorch versions of
        # FlowNet bring their finest flow to full resolution.
        flow = F.interpolate(
            flow, scale_factor=float(self.output_stride), mode="bilinear", align_corners=False
        )
        return flow.permute(0, 2, 3, 1)
