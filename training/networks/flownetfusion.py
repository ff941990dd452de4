"""The fusion network of FlowNet 2.0 (arXiv 1612.01925, section 4).

Layers and names are those of NVIDIA/flownet2-pytorch, networks/FlowNetFusion.py.
"""

import torch
from torch import Tensor, nn

from training.networks.layers import (
    conv,
    deconv,
    initialise,
    inter_conv,
    predict_flow,
    upsample_flow,
)

# First image, two flows, their lengths and their brightness errors.
IN_CHANNELS = 3 + 2 + 2 + 1 + 1 + 1 + 1


class FlowNetFusion(nn.Module):
    """Combines two flows into one, at full resolution and in pixels.

    Args:
        width: multiplier of every layer's channel count; 1 is the paper's network (0.58 M
            parameters).
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        c16, c32, c64, c128 = (round(c * width) for c in (16, 32, 64, 128))
        self.conv0 = conv(IN_CHANNELS, c64)
        self.conv1 = conv(c64, c64, stride=2)
        self.conv1_1 = conv(c64, c128)
        self.conv2 = conv(c128, c128, stride=2)
        self.conv2_1 = conv(c128, c128)

        self.deconv1 = deconv(c128, c32)
        self.deconv0 = deconv(c128 + c32 + 2, c16)

        self.inter_conv1 = inter_conv(c128 + c32 + 2, c32)
        self.inter_conv0 = inter_conv(c64 + c16 + 2, c16)

        self.predict_flow2 = predict_flow(c128)
        self.predict_flow1 = predict_flow(c32)
        self.predict_flow0 = predict_flow(c16)

        self.upsampled_flow2_to_1 = upsample_flow(bias=True)
        self.upsampled_flow1_to_0 = upsample_flow(bias=True)
        initialise(self)

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at three resolutions.

        Args:
            maps: (N, 11, H, W): first image (normalised), flow of the network for small
                displacements, flow of the stack, length of each, brightness error of each; flows in
                pixels. H and W multiples of 4.

        Returns:
            Flows (N, 2, H/s, W/s) for s = 1, 2, 4, in pixels of the full-size image.
        """
        conv0 = self.conv0(maps)
        conv1 = self.conv1_1(self.conv1(conv0))
        conv2 = self.conv2_1(self.conv2(conv1))

        flow2 = self.predict_flow2(conv2)
        concat1 = torch.cat((conv1, self.deconv1(conv2), self.upsampled_flow2_to_1(flow2)), dim=1)
        flow1 = self.predict_flow1(self.inter_conv1(concat1))
        concat0 = torch.cat((conv0, self.deconv0(concat1), self.upsampled_flow1_to_0(flow1)), dim=1)
        flow0 = self.predict_flow0(self.inter_conv0(concat0))
        return flow0, flow1, flow2
