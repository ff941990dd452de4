"""The encoders of RAFT: from an image to maps at 1/8 of its resolution (extractor.py)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

# A normalisation layer for a number of channels.
Norm = Callable[[int], nn.Module]


def no_norm(_: int) -> nn.Module:
    """Return a layer that changes nothing and has no parameters."""
    return nn.Identity()


def _downsample(in_channels: int, channels: int, stride: int, norm: Norm) -> nn.Sequential | None:
    """Return the layer that brings a block's input to its output's size; None where they agree."""
    if stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride), norm(channels))


class ResidualBlock(nn.Module):
    """Two convolutions around which the input is added; ReLU before and after the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = norm(channels)
        self.norm2 = norm(channels)
        self.downsample = _downsample(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H / stride, W / stride) from (N, in_channels, H, W)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class BottleneckBlock(nn.Module):
    """As `ResidualBlock`, with its 3x3 convolution on a quarter of the channels."""

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(in_channels, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1)
        self.conv3 = nn.Conv2d(inner, channels, 1)
        self.norm1 = norm(inner)
        self.norm2 = norm(inner)
        self.norm3 = norm(channels)
        self.downsample = _downsample(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H / stride, W / stride) from (N, in_channels, H, W)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        y = F.relu(self.norm3(self.conv3(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Encoder(nn.Module):
    """A 7x7 convolution and six blocks; each of its three strides is 2.

    Args:
        block: `ResidualBlock` (large) or `BottleneckBlock` (small).
        widths: channels at 1/2, 1/4 and 1/8.
        out_channels: channels of the result.
        norm: normalisation after each convolution but the last.
    """

    def __init__(
        self,
        block: type[ResidualBlock] | type[BottleneckBlock],
        widths: tuple[int, int, int],
        out_channels: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.conv1 = nn.Conv2d(3, half, 7, 2, padding=3)
        self.norm1 = norm(half)
        self.layer1 = nn.Sequential(block(half, half, 1, norm), block(half, half, 1, norm))
        self.layer2 = nn.Sequential(block(half, quarter, 2, norm), block(quarter, quarter, 1, norm))
        self.layer3 = nn.Sequential(block(quarter, eighth, 2, norm), block(eighth, eighth, 1, norm))
        self.conv2 = nn.Conv2d(eighth, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, out_channels, H/8, W/8) from a normalised image (N, 3, H, W)."""
        x = F.relu(self.norm1(self.conv1(image)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))
