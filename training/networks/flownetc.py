"""FlowNetC, "FlowNetCorr" (arXiv 1504.06852, figure 2): siamese encoders and a correlation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import torch_op  # registers flow::correlation
from training.networks.encoder_decoder import EncoderDecoder
from training.networks.layers import LEAK, SiameseNetwork, conv, initialise

# In pixels at 1/8 resolution, as in both published versions.
MAX_DISPLACEMENT = 20
STRIDE_2 = 2
DISPLACEMENTS = (2 * (MAX_DISPLACEMENT // STRIDE_2) + 1) ** 2


class FlowNetC(EncoderDecoder, SiameseNetwork):
    """FlowNetC with every layer's channel count, except the correlation's, times ``width``.

    Args:
        width: multiplier of the channel counts; 1 is the paper's network (39.2 M parameters),
            3/8 the thin one (5.8 M).
    """

    def __init__(self, *, width: float = 1.0) -> None:
        c32, c64, c128, c256 = (round(c * width) for c in (32, 64, 128, 256))
        super().__init__(width=width, in_channels=c32 + DISPLACEMENTS, upsampling_bias=True)
        self.conv1 = conv(3, c64, kernel_size=7, stride=2)
        self.conv2 = conv(c64, c128, kernel_size=5, stride=2)
        self.conv3 = conv(c128, c256, kernel_size=5, stride=2)
        self.conv_redir = conv(c256, c32, kernel_size=1)
        initialise(self)
        # Normalised images have a standard deviation near 1/4, and the correlation squares the
        # features: without this scaling its initial output is too small to learn from.
        with torch.no_grad():
            for parameter in self.conv1.parameters():
                parameter.mul_(4)

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return conv2 at 1/4 and conv3 at 1/8 of the resolution, from one image alone.

        Args:
            image: (N, 3, H, W), normalised; H and W multiples of 64.
        """
        conv2 = self.conv2(self.conv1(image))
        return conv2, self.conv3(conv2)

    def match(self, conv2: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions from features.

        Args:
            conv2: of the first image.
            first: conv3 of the first image.
            second: conv3 of the second image.

        Returns:
            As ``EncoderDecoder.refine``.
        """
        cost = torch_op.correlation(first, second, MAX_DISPLACEMENT, STRIDE_2)
        return self.refine(
            conv2, torch.cat((self.conv_redir(first), F.leaky_relu(cost, LEAK)), dim=1)
        )
