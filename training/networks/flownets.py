"""FlowNetS, "FlowNetSimple" (arXiv 1504.06852, figure 2): one encoder for both images."""

import torch
from torch import Tensor

from training.networks.encoder_decoder import EncoderDecoder
from training.networks.layers import conv, initialise


class FlowNetS(EncoderDecoder):
    """FlowNetS with every layer's channel count multiplied by ``width``.

    Args:
        width: multiplier of the channel counts; 1 is the paper's network (38.7 M parameters),
            3/8 the thin one (5.5 M).
        in_channels: 6 for two images; more in the stacks of FlowNet 2.0.
    """

    def __init__(self, *, width: float = 1.0, in_channels: int = 6) -> None:
        c64, c128, c256 = (round(c * width) for c in (64, 128, 256))
        super().__init__(width=width, in_channels=c256, upsampling_bias=False)
        self.conv1 = conv(in_channels, c64, kernel_size=7, stride=2)
        self.conv2 = conv(c64, c128, kernel_size=5, stride=2)
        self.conv3 = conv(c128, c256, kernel_size=5, stride=2)
        initialise(self)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions.

        Args:
            image1: first image, (N, 3, H, W), normalised; H and W multiples of 64.
            image2: second image, likewise.

        Returns:
            As ``EncoderDecoder.refine``.
        """
        return self.predict(torch.cat((image1, image2), dim=1))

    def predict(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions from (N, ``in_channels``, H, W)."""
        conv2 = self.conv2(self.conv1(maps))
        return self.refine(conv2, self.conv3(conv2))
