"""The layers that FlowNetS and FlowNetC share: all from conv3_1 on.

FlowNet (Dosovitskiy et al., ICCV 2015, arXiv 1504.06852), figures 2 and 3. Module names are those
of the published PyTorch checkpoints (ClementPinard/FlowNetPytorch and NVIDIA/flownet2-pytorch), so
that their weights load without a key map.
"""

import torch
from torch import Tensor, nn

from training.networks.layers import FlowNetwork, conv, deconv, predict_flow, upsample_flow


class Decoder(FlowNetwork):
    """The expanding part from the fifth level on; a subclass creates the layers."""

    deconv4: nn.Module
    deconv3: nn.Module
    deconv2: nn.Module
    predict_flow4: nn.Module
    predict_flow3: nn.Module
    predict_flow2: nn.Module
    upsampled_flow5_to_4: nn.Module
    upsampled_flow4_to_3: nn.Module
    upsampled_flow3_to_2: nn.Module

    def decode_finer(
        self, skips: tuple[Tensor, Tensor, Tensor], deepest: Tensor, flow5: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the flows of levels 2 to 5, and the maps of the finest deconvolution.

        Args:
            skips: encoder maps of levels 2, 3 and 4.
            deepest: input of the fifth level's flow head.
            flow5: flow of the fifth level.
        """
        conv2, conv3, conv4 = skips
        concat4 = self.concatenate(conv4, self.deconv4(deepest), self.upsampled_flow5_to_4(flow5))
        flow4 = self.predict_flow4(concat4)
        concat3 = self.concatenate(conv3, self.deconv3(concat4), self.upsampled_flow4_to_3(flow4))
        flow3 = self.predict_flow3(concat3)
        deconv2 = self.deconv2(concat3)
        concat2 = self.concatenate(conv2, deconv2, self.upsampled_flow3_to_2(flow3))
        flow2 = self.predict_flow2(concat2)
        return (flow2, flow3, flow4, flow5), deconv2

    def concatenate(self, skip: Tensor, *upsampled: Tensor) -> Tensor:
        """Concatenate encoder maps and what was upsampled to their resolution, along channels."""
        return torch.cat((skip, *upsampled), dim=1)


class EncoderDecoder(Decoder):
    """The end of the contracting part and the whole expanding part.

    Args:
        width: multiplier of every layer's channel count; 1 is the papers' network.
        in_channels: input channels of conv3_1.
        upsampling_bias: whether the flow upsampling layers have a bias.
    """

    def __init__(self, *, width: float, in_channels: int, upsampling_bias: bool) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (round(c * width) for c in (64, 128, 256, 512, 1024))

        self.conv3_1 = conv(in_channels, c256)
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

        self.predict_flow6 = predict_flow(c1024)
        self.predict_flow5 = predict_flow(c512 + c512 + 2)
        self.predict_flow4 = predict_flow(c512 + c256 + 2)
        self.predict_flow3 = predict_flow(c256 + c128 + 2)
        self.predict_flow2 = predict_flow(c128 + c64 + 2)

        self.upsampled_flow6_to_5 = upsample_flow(bias=upsampling_bias)
        self.upsampled_flow5_to_4 = upsample_flow(bias=upsampling_bias)
        self.upsampled_flow4_to_3 = upsample_flow(bias=upsampling_bias)
        self.upsampled_flow3_to_2 = upsample_flow(bias=upsampling_bias)

    def refine(self, conv2: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions.

        Args:
            conv2: skip connection to the finest level, at 1/4 of the images' resolution.
            features: input of conv3_1, at 1/8.

        Returns:
            Flows (N, 2, H/s, W/s) for s = 4, 8, 16, 32, 64, in pixels of the full-size image
            divided by ``flow_scale``.
        """
        conv3 = self.conv3_1(features)
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))
        conv6 = self.conv6_1(self.conv6(conv5))

        flow6 = self.predict_flow6(conv6)
        concat5 = torch.cat((conv5, self.deconv5(conv6), self.upsampled_flow6_to_5(flow6)), dim=1)
        flow5 = self.predict_flow5(concat5)
        flows, _ = self.decode_finer((conv2, conv3, conv4), concat5, flow5)
        return (*flows, flow6)
