"""FlowNetS, "FlowNetSimple" (arXiv 1504.06852, figure 2): both images through one encoder."""

import torch
from torch import Tensor

from training.networks.encoder_decoder import EncoderDecoder
from training.networks.layers import conv, initialise


class FlowNetS(EncoderDecoder):
    """FlowNetS with every layer's channel count multiplied by ``width``.

    Args:
        width: multiplier of the channel counts; 1 is the paper's network (38.7 M parameters),
            3/8 the thin one (5.5 M).
    """

    # What sees the images. Of the layers between these and the decoder it raised int8's error.
    equalised_layers: tuple[str, ...] = (
        *EncoderDecoder.equalised_layers,
        *("conv2", "conv3", "conv3_1"),
    )
    # conv6_1, too, is told of the motion. For what is held in two digits steps may be larger.
    wide_layers: tuple[str, ...] = ("conv6_1", *EncoderDecoder.joined_layers)
    # By hand, of flownets_slim on 160 procedural pairs: +1.4 % of error without, +0.2 % with them;
    # no other layer's output made a difference.
    fine_layers: tuple[str, ...] = ("deconv4", "deconv3", "deconv2")

    def __init__(self, *, width: float = 1.0) -> None:
        c64, c128, c256 = (round(c * width) for c in (64, 128, 256))
        super().__init__(width=width, joined=c256, upsampling_bias=False)
        self.conv1 = conv(6, c64, kernel_size=7, stride=2)
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
        conv2 = self.conv2(self.conv1(torch.cat((image1, image2), dim=1)))
        return self.refine(conv2, self.conv3(conv2))
