"""FlowNetS: "FlowNetSimple" of Dosovitskiy et al., ICCV 2015 (arXiv 1504.06852), figure 2.

Module names are those of the published PyTorch checkpoints (ClementPinard/FlowNetPytorch and
NVIDIA/flownet2-pytorch), so that their weights load without a key map.
"""

import torch
from torch import Tensor, nn

# Negative slope of every LeakyReLU in the FlowNet family.
LEAK = 0.1


def conv(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1
) -> nn.Module:
    """Convolution with 'same' padding and LeakyReLU."""
    padding = (kernel_size - 1) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding), nn.LeakyReLU(LEAK)
    )


def deconv(in_channels: int, out_channels: int) -> nn.Module:
    """Transposed convolution that doubles the resolution, and LeakyReLU."""
    return nn.Sequential(nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1), nn.LeakyReLU(LEAK))


def predict_flow(in_channels: int) -> nn.Module:
    """Flow head: two channels, no activation."""
    return nn.Conv2d(in_channels, 2, 3, 1, 1)


def upsample_flow() -> nn.Module:
    """Learnt x2 upsampling of a flow field; without bias, as in both published versions."""
    return nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=False)


def initialise(network: nn.Module) -> None:
    """He initialisation for LeakyReLU, zero biases, and flow upsampling that starts bilinear."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, a=LEAK)
            if isinstance(module, nn.ConvTranspose2d):
                # Each output pixel of a 4x4 stride-2 transposed convolution sums only 2x2 taps of
                # every *input* channel, while fan-in is counted from the output side.
                fan_in = module.in_channels * 4
                nn.init.normal_(module.weight, std=(2 / ((1 + LEAK**2) * fan_in)) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, module in network.named_modules():
        if name.startswith("upsampled_flow"):
            taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
            with torch.no_grad():
                module.weight.zero_()
                for channel in range(2):
                    module.weight[channel, channel] = taps[:, None] * taps[None, :]
        elif name.startswith("predict_flow"):
            # Start near zero flow; the loss then pulls from the mean instead of from noise.
            nn.init.normal_(module.weight, std=1e-2 / module.in_channels**0.5)


class FlowNetS(nn.Module):
    """FlowNetS with every layer's channel count multiplied by ``width``.

    Args:
        width: multiplier of the channel counts; 1 is the paper's network (38.7 M parameters),
            3/8 the thin one (5.5 M).
    """

    divisor = 64  # height and width must be multiples: six stride-2 layers
    output_stride = 4  # the finest flow has a quarter of the input's resolution
    flow_scale = 20.0  # the network predicts pixels / 20 (the papers' "div_flow")

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (round(c * width) for c in (64, 128, 256, 512, 1024))

        self.conv1 = conv(6, c64, kernel_size=7, stride=2)
        self.conv2 = conv(c64, c128, kernel_size=5, stride=2)
        self.conv3 = conv(c128, c256, kernel_size=5, stride=2)
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

        self.predict_flow6 = predict_flow(c1024)
        self.predict_flow5 = predict_flow(c512 + c512 + 2)
        self.predict_flow4 = predict_flow(c512 + c256 + 2)
        self.predict_flow3 = predict_flow(c256 + c128 + 2)
        self.predict_flow2 = predict_flow(c128 + c64 + 2)

        self.upsampled_flow6_to_5 = upsample_flow()
        self.upsampled_flow5_to_4 = upsample_flow()
        self.upsampled_flow4_to_3 = upsample_flow()
        self.upsampled_flow3_to_2 = upsample_flow()

        initialise(self)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions.

        Args:
            image1: first image, (N, 3, H, W), normalised; H and W multiples of 64.
            image2: second image, likewise.

        Returns:
            Flows (N, 2, H/s, W/s) for s = 4, 8, 16, 32, 64, in pixels of the full-size image
            divided by ``flow_scale``.
        """
        conv2 = self.conv2(self.conv1(torch.cat((image1, image2), dim=1)))
        conv3 = self.conv3_1(self.conv3(conv2))
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))
        conv6 = self.conv6_1(self.conv6(conv5))

        flow6 = self.predict_flow6(conv6)
        concat5 = torch.cat((conv5, self.deconv5(conv6), self.upsampled_flow6_to_5(flow6)), dim=1)
        flow5 = self.predict_flow5(concat5)
        concat4 = torch.cat((conv4, self.deconv4(concat5), self.upsampled_flow5_to_4(flow5)), dim=1)
        flow4 = self.predict_flow4(concat4)
        concat3 = torch.cat((conv3, self.deconv3(concat4), self.upsampled_flow4_to_3(flow4)), dim=1)
        flow3 = self.predict_flow3(concat3)
        concat2 = torch.cat((conv2, self.deconv2(concat3), self.upsampled_flow3_to_2(flow3)), dim=1)
        flow2 = self.predict_flow2(concat2)
        return flow2, flow3, flow4, flow5, flow6
