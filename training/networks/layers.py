"""Layers, initialisation and base classes of the FlowNet family."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.losses import multiscale_loss

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


def inter_conv(in_channels: int, out_channels: int) -> nn.Module:
    """Convolution before a flow head, without activation."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, 1, 1))


def predict_flow(in_channels: int) -> nn.Module:
    """Flow head: two channels, no activation."""
    return nn.Conv2d(in_channels, 2, 3, 1, 1)


def upsample_flow(*, bias: bool) -> nn.Module:
    """Learnt x2 upsampling of a flow field."""
    return nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=bias)


def sampling_grid(flow: Tensor) -> Tensor:
    """Return the places that `torch.nn.functional.grid_sample` reads to warp by a flow.

    Args:
        flow: (N, H, W, 2), in pixels.

    Returns:
        (N, H, W, 2), at least float32: a half-precision coordinate has no bits left for the
        fraction of a pixel. -1 and 1 are the outer edges of the first and last pixel
        (``align_corners=False``).
    """
    batch, height, width, _ = flow.shape
    centres, unit = pixel_centres(flow)
    # A line of numbers for each row: OpenVINO computes along the last axis, and two are too few.
    lines = flow.to(unit.dtype).reshape(batch, height, 2 * width)
    grid = centres.reshape(height, 2 * width) + lines * unit.expand(width, 2).reshape(2 * width)
    return grid.reshape(batch, height, width, 2)


def pixel_centres(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres of a flow's pixels, and one pixel's size, in the units of `sampling_grid`.

    Args:
        flow: (N, H, W, 2).

    Returns:
        (H, W, 2) and (2), x then y, at least float32.
    """
    height, width = flow.shape[1:3]
    precise = torch.promote_types(flow.dtype, torch.float32)
    x = torch.arange(width, dtype=precise, device=flow.device)
    y = torch.arange(height, dtype=precise, device=flow.device)
    # From the tensors, not from height and width: ONNX Runtime would compute those on the host and
    # could then not record a CUDA graph.
    rows, columns = y[-1:] + 1, x[-1:] + 1
    # Pixel centres lie half a pixel inside -1 and 1.
    x, y = (2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1
    centres = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)
    return centres, torch.cat((2 / columns, 2 / rows))


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Backward-warp maps of the second image to the first, clamping coordinates to the border.

    Args:
        maps: (N, C, H, W), of the second image.
        flow: (N, H, W, 2), in pixels of the maps.

    Returns:
        (N, C, H, W) in the maps' dtype: at each x, maps at x + flow(x), bilinear. Computed at least
        in float32.
    """
    grid = sampling_grid(flow)
    moved = F.grid_sample(maps.to(grid.dtype), grid, padding_mode="border", align_corners=False)
    return moved.to(maps.dtype)


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
    for path, module in network.named_modules():
        name = path.rpartition(".")[2]
        if name.startswith("upsampled_flow"):
            taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
            with torch.no_grad():
                module.weight.zero_()
                for channel in range(2):
                    module.weight[channel, channel] = taps[:, None] * taps[None, :]
        elif name.startswith("predict_"):
            # Start near zero flow; the loss then pulls from the mean instead of from noise.
            nn.init.normal_(module.weight, std=1e-2 / module.in_channels**0.5)


class FlowNetwork(nn.Module):
    """A network that predicts flow at several resolutions.

    ``forward`` takes two normalised images (N, 3, H, W) and returns flows (N, 2, H/s, W/s), finest
    first, in pixels of the full-size image divided by ``flow_scale``.

    Attributes:
        divisor: height and width must be multiples of it.
        smallest: least height and width, besides the divisor.
        output_stride: the finest flow has 1 / output_stride of the input's resolution.
        flow_scale: divisor of the flow during training (the papers' "div_flow").
        interpolation: how the finest flow is brought to the input's resolution.
        normalisation: key of `training.normalise.NORMALISATIONS` to train from random weights with.
        reads_quartered: whether its layers read images of a quarter of the size at most. It then
            has a method ``of_quartered``, which takes the normalised pair at that size, (N, 6,
            H / 4, W / 4), and returns what ``forward`` does.
    """

    divisor = 64
    smallest = 1
    output_stride = 4
    flow_scale = 20.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    normalisation = "centred"
    reads_quartered = False

    def loss(self, flows: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
        """Return the training loss of what ``forward`` returned; arguments as `multiscale_loss`."""
        return multiscale_loss(flows, target, weight)

    def begin_step(self, seed: int) -> None:
        """Draw what differs between training steps: nothing, unless a network overrides this."""


class SiameseNetwork(FlowNetwork):
    """A network whose first layers process each image alone, so that video frames share them."""

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the skip connection and the features of a normalised image (N, 3, H, W)."""
        raise NotImplementedError

    def match(self, skip: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Return the flows from the first image's skip and features and the second's features."""
        raise NotImplementedError

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow from two images; arguments and result as for every ``FlowNetwork``."""
        skip, first = self.features(image1)
        _, second = self.features(image2)
        return self.match(skip, first, second)


class RecurrentParts(NamedTuple):
    """A recurrent network as it is deployed; state and constants are channels last.

    Attributes:
        features: a normalised image -> skip and features, as `SiameseNetwork.features`.
        start: skip and both images' features -> hidden state, and the updates' constants.
        update: hidden state, flow, constants -> hidden state, flow. The flow is (N, h, w, 2),
            float32, in pixels of the features.
        finish: hidden state, flow -> (N, H, W, 2) in pixels, float32.
    """

    features: nn.Module
    start: nn.Module
    update: nn.Module
    finish: nn.Module


class RecurrentNetwork(SiameseNetwork):
    """A network that refines its flow by repeated updates.

    Attributes:
        iterations: number of updates.
    """

    iterations: int

    def parts(self, lookup: str) -> RecurrentParts:
        """Return what is deployed, with a copy of the weights.

        Args:
            lookup: how the updates get correlations, a key of `entry.Recurrence.constants`.
        """
        raise NotImplementedError
