"""FlowNetSD, for small displacements (FlowNet 2.0, arXiv 1612.01925, section 4).

Layers and names are those of NVIDIA/flownet2-pytorch, networks/FlowNetSD.py.
"""

import torch
from torch import Tensor

from training.networks.layers import (
    FlowNetwork,
    conv,
    deconv,
    initialise,
    inter_conv,
    predict_flow,
    upsample_flow,
)


class FlowNetSD(FlowNetwork):
    """FlowNetS with 3x3 convolutions from full resolution on, and one more before each flow head.

    Args:
        width: multiplier of every layer's channel count; 1 is the paper's network (45.4 M
            parameters).
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (round(c * width) for c in (64, 128, 256, 512, 1024))
        self.conv0 = conv(6, c64)
        self.conv1 = conv(c64, c64, stride=2)
        self.conv1_1 = conv(c64, c128)
        self.conv2 = conv(c128, c128, stride=2)
        self.conv2_1 = conv(c128, c128)
        self.conv3 = conv(c128, c256, stride=2)
        self.conv3_1 = conv(c256, c256)
        self.conv4 = conv(c256, c512, stride=2)
        self.conv4_1 = conv(c512, c512)
        self.conv5 = conv(c512, c512, stride=2)
        self.conv5_1 = conv(c512, c512)
        self.conv6 = conv(c512, c1024, stride=2)
        self.conv6_1 = conv(c1024, c1024)

        self.deconv5 = deconv(c1024, c512)
        self.deconv4 = deconv(c512 + c512 + 2, c256)
        self.deconv3 = deconv(c512 + c256 + 2, c128)
        self.deconv2 = deconv(c256 + c128 + 2, c64)

        self.inter_conv5 = inter_conv(c512 + c512 + 2, c512)
        self.inter_conv4 = inter_conv(c512 + c256 + 2, c256)
        self.inter_conv3 = inter_conv(c256 + c128 + 2, c128)
        self.inter_conv2 = inter_conv(c128 + c64 + 2, c64)

        self.predict_flow6 = predict_flow(c1024)
        self.predict_flow5 = predict_flow(c512)
        self.predict_flow4 = predict_flow(c256)
        self.predict_flow3 = predict_flow(c128)
        self.predict_flow2 = predict_flow(c64)

        self.upsampled_flow6_to_5 = upsample_flow(bias=True)
        self.upsampled_flow5_to_4 = upsample_flow(bias=True)
        self.upsampled_flow4_to_3 = upsample_flow(bias=True)
        self.upsampled_flow3_to_2 = upsample_flow(bias=True)
        initialise(self)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions; arguments and result as `FlowNetS`."""
        conv0 = self.conv0(torch.cat((image1, image2), dim=1))
        conv1 = self.conv1_1(self.conv1(conv0))
        conv2 = self.conv2_1(self.conv2(conv1))
        conv3 = self.conv3_1(self.conv3(conv2))
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))
        conv6 = self.conv6_1(self.conv6(conv5))

        flow6 = self.predict_flow6(conv6)
        concat5 = torch.cat((conv5, self.deconv5(conv6), self.upsampled_flow6_to_5(flow6)), dim=1)
        flow5 = self.predict_flow5(self.inter_conv5(concat5))
        concat4 = torch.cat((conv4, self.deconv4(concat5), self.upsampled_flow5_to_4(flow5)), dim=1)
        flow4 = self.predict_flow4(self.inter_conv4(concat4))
        concat3 = torch.cat((conv3, self.deconv3(concat4), self.upsampled_flow4_to_3(flow4)), dim=1)
        flow3 = self.predict_flow3(self.inter_conv3(concat3))
        concat2 = torch.cat((conv2, self.deconv2(concat3), self.upsampled_flow3_to_2(flow3)), dim=1)
        flow2 = self.predict_flow2(self.inter_conv2(concat2))
        return flow2, flow3, flow4, flow5, flow6
