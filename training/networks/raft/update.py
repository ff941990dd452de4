"""The recurrent part of RAFT: one update of the hidden state and of the flow (update.py)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SmallMotionEncoder(nn.Module):
    """Motion features of RAFT small, from the looked-up correlations and the flow.

    Args:
        correlations: number of looked-up correlations per pixel.
    """

    channels = 82

    def __init__(self, correlations: int) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(correlations, 96, 1)
        self.convf1 = nn.Conv2d(2, 64, 7, padding=3)
        self.convf2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv = nn.Conv2d(96 + 32, 80, 3, padding=1)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        """Return (N, 82, h, w); the last two channels are the flow."""
        from_correlation = F.relu(self.convc1(correlation))
        from_flow = F.relu(self.convf2(F.relu(self.convf1(flow))))
        motion = F.relu(self.conv(torch.cat((from_correlation, from_flow), dim=1)))
        return torch.cat((motion, flow), dim=1)


class LargeMotionEncoder(nn.Module):
    """Motion features of RAFT large, from the looked-up correlations and the flow.

    Args:
        correlations: number of looked-up correlations per pixel.
    """

    channels = 128

    def __init__(self, correlations: int) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(correlations, 256, 1)
        self.convc2 = nn.Conv2d(256, 192, 3, padding=1)
        self.convf1 = nn.Conv2d(2, 128, 7, padding=3)
        self.convf2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(192 + 64, 126, 3, padding=1)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        """Return (N, 128, h, w); the last two channels are the flow."""
        from_correlation = F.relu(self.convc2(F.relu(self.convc1(correlation))))
        from_flow = F.relu(self.convf2(F.relu(self.convf1(flow))))
        motion = F.relu(self.conv(torch.cat((from_correlation, from_flow), dim=1)))
        return torch.cat((motion, flow), dim=1)


def _gru_step(
    hidden: Tensor, inputs: Tensor, update: nn.Module, reset: nn.Module, candidate: nn.Module
) -> Tensor:
    """Return the next hidden state of a convolutional GRU."""
    both = torch.cat((hidden, inputs), dim=1)
    z = torch.sigmoid(update(both))
    r = torch.sigmoid(reset(both))
    q = torch.tanh(candidate(torch.cat((r * hidden, inputs), dim=1)))
    return (1 - z) * hidden + z * q


class ConvGRU(nn.Module):
    """A GRU of 3x3 convolutions (small)."""

    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.convz = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)
        self.convr = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)
        self.convq = nn.Conv2d(hidden + inputs, hidden, 3, padding=1)

    def forward(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the next hidden state, (N, hidden, h, w)."""
        return _gru_step(hidden, inputs, self.convz, self.convr, self.convq)


class SepConvGRU(nn.Module):
    """Two GRUs in turn, of 1x5 and of 5x1 convolutions (large)."""

    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.convz1 = nn.Conv2d(hidden + inputs, hidden, (1, 5), padding=(0, 2))
        self.convr1 = nn.Conv2d(hidden + inputs, hidden, (1, 5), padding=(0, 2))
        self.convq1 = nn.Conv2d(hidden + inputs, hidden, (1, 5), padding=(0, 2))
        self.convz2 = nn.Conv2d(hidden + inputs, hidden, (5, 1), padding=(2, 0))
        self.convr2 = nn.Conv2d(hidden + inputs, hidden, (5, 1), padding=(2, 0))
        self.convq2 = nn.Conv2d(hidden + inputs, hidden, (5, 1), padding=(2, 0))

    def forward(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the next hidden state, (N, hidden, h, w)."""
        hidden = _gru_step(hidden, inputs, self.convz1, self.convr1, self.convq1)
        return _gru_step(hidden, inputs, self.convz2, self.convr2, self.convq2)


class FlowHead(nn.Module):
    """From the hidden state to the change of the flow."""

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(hidden, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (N, 2, h, w)."""
        return self.conv2(F.relu(self.conv1(hidden)))


class SmallUpdateBlock(nn.Module):
    """The update of RAFT small."""

    def __init__(self, hidden: int, context: int, correlations: int) -> None:
        super().__init__()
        self.encoder = SmallMotionEncoder(correlations)
        self.gru = ConvGRU(hidden, context + self.encoder.channels)
        self.flow_head = FlowHead(hidden, 128)

    def forward(
        self, hidden: Tensor, context: Tensor, correlation: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and the change of the flow."""
        motion = self.encoder(flow, correlation)
        hidden = self.gru(hidden, torch.cat((context, motion), dim=1))
        return hidden, self.flow_head(hidden)


class LargeUpdateBlock(nn.Module):
    """The update of RAFT large, with the weights of its upsampling."""

    def __init__(self, hidden: int, context: int, correlations: int) -> None:
        super().__init__()
        self.encoder = LargeMotionEncoder(correlations)
        self.gru = SepConvGRU(hidden, context + self.encoder.channels)
        self.flow_head = FlowHead(hidden, 256)
        # 8x8 pixels, each a convex combination of 3x3 neighbours.
        self.mask = nn.Sequential(
            nn.Conv2d(hidden, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 9 * 8 * 8, 1)
        )

    def forward(
        self, hidden: Tensor, context: Tensor, correlation: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and the change of the flow."""
        motion = self.encoder(flow, correlation)
        hidden = self.gru(hidden, torch.cat((context, motion), dim=1))
        return hidden, self.flow_head(hidden)
