"""RAFT: features, a correlation volume of all pairs of pixels, and repeated updates of the flow."""

from typing import cast

import torch
from torch import Tensor, nn

from training.losses import sequence_loss
from training.networks.layers import RecurrentNetwork, RecurrentParts
from training.networks.raft.encoder import BottleneckBlock, Encoder, ResidualBlock, no_norm
from training.networks.raft.lookup import LEVELS, correlation_pyramid, look_up
from training.networks.raft.update import LargeUpdateBlock, SmallUpdateBlock
from training.networks.raft.upsample import upsample_bilinear, upsample_convex

# As published: of evaluation on Flying Chairs, and of training.
ITERATIONS = 12


class RAFT(RecurrentNetwork):
    """RAFT; `raft_large` and `raft_small` create the published ones.

    Args:
        fnet: encoder of both images' features.
        cnet: encoder of the first image: the initial hidden state and the context.
        update_block: one update; has ``mask`` if the upsampling is learnt.
        hidden: channels of the hidden state.
        context: channels of the context.
        radius: radius of the look-up's windows.

    Attributes:
        iterations: number of updates.
    """

    divisor = 8
    # The smallest level of the volume has two rows and columns from here on. Below, published code
    # divides by zero.
    smallest = 128
    output_stride = 1
    flow_scale = 1.0
    normalisation = "minus_one_to_one"

    def __init__(
        self,
        fnet: Encoder,
        cnet: Encoder,
        update_block: SmallUpdateBlock | LargeUpdateBlock,
        *,
        hidden: int,
        context: int,
        radius: int,
    ) -> None:
        super().__init__()
        self.fnet = fnet
        self.cnet = cnet
        self.update_block = update_block
        self.hidden = hidden
        self.context = context
        self.radius = radius
        self.iterations = ITERATIONS
        for module in (*fnet.modules(), *cnet.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what an image is as a first image, and what it is as either, at 1/8.

        Args:
            image: (N, 3, H, W), values in -1..1; H and W multiples of 8, at least 128.
        """
        return self.cnet(image), self.fnet(image)

    def match(
        self, skip: Tensor, first: Tensor, second: Tensor, initial_flow: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Estimate the flow from features.

        Args:
            skip: ``cnet`` of the first image.
            first: ``fnet`` of the first image.
            second: ``fnet`` of the second image.
            initial_flow: where to start, (N, 2, H/8, W/8) in pixels of 1/8; None: no motion.

        Returns:
            Flows (N, 2, H, W) in pixels; in training of every iteration, the last one first,
            otherwise of the last one alone.
        """
        hidden, context = skip.split((self.hidden, self.context), dim=1)
        hidden, context = hidden.tanh(), context.relu()
        pyramid = correlation_pyramid(first, second)
        still = pixel_grid(first)
        flow = torch.zeros_like(still) if initial_flow is None else initial_flow
        flows = []
        for iteration in range(self.iterations):
            flow = flow.detach()
            correlation = look_up(pyramid, still + flow, self.radius)
            hidden, change = self.update_block(hidden, context, correlation, flow)
            flow = flow + change
            if self.training or iteration == self.iterations - 1:
                flows.append(self.upsample(flow, hidden))
        return tuple(reversed(flows))

    def forward(
        self, image1: Tensor, image2: Tensor, initial_flow: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Estimate the flow of two images (N, 3, H, W); see `features` and `match`."""
        return self.match(self.cnet(image1), self.fnet(image1), self.fnet(image2), initial_flow)

    def loss(self, flows: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss over all iterations; arguments as `sequence_loss`."""
        return sequence_loss(flows, target, weight)

    def parts(self, lookup: str) -> RecurrentParts:
        """Return what is deployed; see `deployed`."""
        from training.networks.raft.deployed import deployed_parts

        return deployed_parts(self, lookup)

    def upsample(self, flow: Tensor, hidden: Tensor) -> Tensor:
        """Return the flow at full resolution in pixels, (N, 2, 8 h, 8 w)."""
        if isinstance(self.update_block, SmallUpdateBlock):
            return upsample_bilinear(flow)
        return upsample_convex(flow, 0.25 * cast(Tensor, self.update_block.mask(hidden)))


def pixel_grid(maps: Tensor) -> Tensor:
    """Return each pixel's own coordinates, x then y, (N, 2, h, w) for maps (N, C, h, w)."""
    batch, _, height, width = maps.shape
    x = torch.arange(width, dtype=maps.dtype, device=maps.device)
    y = torch.arange(height, dtype=maps.dtype, device=maps.device)
    grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)))
    return grid.expand(batch, 2, height, width)


def raft_large() -> RAFT:
    """Build RAFT (5.3 M parameters)."""
    hidden, context, radius = 128, 128, 4
    widths = (64, 96, 128)
    return RAFT(
        Encoder(ResidualBlock, widths, 256, nn.InstanceNorm2d),
        Encoder(ResidualBlock, widths, hidden + context, nn.BatchNorm2d),
        LargeUpdateBlock(hidden, context, LEVELS * (2 * radius + 1) ** 2),
        hidden=hidden,
        context=context,
        radius=radius,
    )


def raft_small() -> RAFT:
    """Build RAFT small (1.0 M parameters)."""
    hidden, context, radius = 96, 64, 3
    widths = (32, 64, 96)
    return RAFT(
        Encoder(BottleneckBlock, widths, 128, nn.InstanceNorm2d),
        Encoder(BottleneckBlock, widths, hidden + context, no_norm),
        SmallUpdateBlock(hidden, context, LEVELS * (2 * radius + 1) ** 2),
        hidden=hidden,
        context=context,
        radius=radius,
    )
