"""RAFT as it is deployed: the same function as `network`, arranged for fast graphs.

Three modules, so that the update can be the body of a loop; maps are channels last. Against the
published form, all exact but for rounding:

- What the convolutions of the GRU make of the context, which no update changes, is computed once.
- The gates' convolutions, which read the same, are one.
- The means of the volume's levels are taken of the second image's features instead, before the
  products, so that one matrix product gives all levels.
- The window around a pixel is gathered at whole coordinates, all levels at once; its bilinear
  weights are the same for all of it.
- The window's columns are its inner axis; the first convolution's weights are in that order.
"""

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layers import RecurrentParts
from training.networks.raft.lookup import LEVELS
from training.networks.raft.network import RAFT
from training.networks.raft.rewritten import (
    columns_inside,
    neighbours_inside,
    with_inputs,
    without_batch_norm,
)
from training.networks.raft.update import LargeMotionEncoder, SepConvGRU, SmallUpdateBlock

# Far outside every level, and still a whole number in float32 when added to itself.
_OUTSIDE = -(2.0**24)


def deployed_parts(network: RAFT, lookup: str) -> RecurrentParts:
    """Return the parts of a network, with a copy of its weights.

    Args:
        network: the network; in half precision, the volume and all coordinates stay float32, as
            published (raft.py).
        lookup: ``"volume"`` correlates all pairs of pixels once; ``"on_the_fly"`` leaves the
            products to each update, which takes more time and little memory.
    """
    return RecurrentParts(
        Features(network), Start(network, lookup), Update(network, lookup), Finish(network)
    )


class Features(nn.Module):
    """`RAFT.features`, with batch normalisations in the convolutions before them."""

    def __init__(self, network: RAFT) -> None:
        super().__init__()
        self.cnet, self.fnet = without_batch_norm(network.cnet), copy.deepcopy(network.fnet)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``cnet`` and ``fnet`` of a normalised image (N, 3, H, W)."""
        return self.cnet(image), self.fnet(image)


class Start(nn.Module):
    """From features to what the updates start from and read.

    Args:
        network: the network.
        lookup: see `deployed_parts`.
    """

    def __init__(self, network: RAFT, lookup: str) -> None:
        super().__init__()
        self.channels = (network.hidden, network.context)
        self.lookup = lookup
        self.context = nn.ModuleList(
            with_inputs(convs, slice(network.hidden, network.hidden + network.context), bias=True)
            for gates in _gates(network)
            for convs in (gates[:2], gates[2:])
        )

    def forward(self, skip: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Return the initial hidden state, the correlation's operands and the context's terms.

        Args:
            skip: ``cnet`` of the first image, (N, C, h, w).
            first: ``fnet`` of the first image.
            second: ``fnet`` of the second image.

        Returns:
            hidden (N, h, w, H); with a volume (N, h, w, L), L the pixels of all levels and a
            zero, otherwise the first image's features (N, h, w, C) and the second one's of all
            levels (N, 1, L, C); the terms (N, h, w, 2 H) and (N, h, w, H) of each GRU.
        """
        hidden, context = skip.split(self.channels, dim=1)
        hidden, context = hidden.tanh(), context.relu()
        batch, channels, height, width = first.shape
        pixels = _full(first) * channels**-0.5
        levels = [_full(second)]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        outside = torch.zeros_like(levels[-1][:, :, 0, :1])  # the value outside the image
        pyramid = torch.cat((outside, *(level.flatten(2) for level in levels)), dim=2)
        if self.lookup == "volume":
            volume = pixels.flatten(2).transpose(1, 2) @ pyramid
            operands = [volume.reshape(batch, height, width, -1)]
        else:
            operands = [pixels.permute(0, 2, 3, 1), pyramid.transpose(1, 2)[:, None]]
        terms = (conv(context).permute(0, 2, 3, 1) for conv in self.context)
        return (hidden.permute(0, 2, 3, 1), *operands, *terms)


class Update(nn.Module):
    """One update of the hidden state and of the flow; arguments as for `Start`."""

    def __init__(self, network: RAFT, lookup: str) -> None:
        super().__init__()
        self.hidden = network.hidden
        self.radius = network.radius
        self.lookup = lookup
        block = copy.deepcopy(network.update_block)
        self.convc1 = columns_inside(block.encoder.convc1, 2 * network.radius + 1)
        encoder = block.encoder
        self.convc2 = encoder.convc2 if isinstance(encoder, LargeMotionEncoder) else None
        self.convf1, self.convf2, self.conv = encoder.convf1, encoder.convf2, encoder.conv
        others = [*range(network.hidden)]
        others += range(network.hidden + network.context, _gates(network)[0][0].in_channels)
        self.gates = nn.ModuleList(
            with_inputs(gates[:2], others, bias=False) for gates in _gates(network)
        )
        self.candidates = nn.ModuleList(
            with_inputs(gates[2:], others, bias=False) for gates in _gates(network)
        )
        self.flow_head = block.flow_head

    def forward(self, hidden: Tensor, flow: Tensor, *constants: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next hidden state (N, h, w, H) and flow (N, h, w, 2), in pixels of 1/8.

        Args:
            hidden: the hidden state.
            flow: the flow, float32.
            constants: what `Start` returned after the hidden state.
        """
        operands = constants[: -2 * len(self.gates)]
        terms = [term.permute(0, 3, 1, 2) for term in constants[-2 * len(self.gates) :]]
        correlation = self._look_up(flow, operands).to(hidden.dtype).permute(0, 3, 1, 2)
        state, planes = hidden.permute(0, 3, 1, 2), flow.to(hidden.dtype).permute(0, 3, 1, 2)
        motion = self._motion(correlation, planes)
        for index, (gates, candidate) in enumerate(zip(self.gates, self.candidates, strict=True)):
            both = gates(torch.cat((state, motion), dim=1)) + terms[2 * index]
            z, r = both.sigmoid().split(self.hidden, dim=1)
            new = candidate(torch.cat((r * state, motion), dim=1)) + terms[2 * index + 1]
            state = state + z * (new.tanh() - state)
        change = _full(self.flow_head(state))
        return state.permute(0, 2, 3, 1), flow + change.permute(0, 2, 3, 1)

    def _motion(self, correlation: Tensor, flow: Tensor) -> Tensor:
        from_correlation = F.relu(self.convc1(correlation))
        if self.convc2 is not None:
            from_correlation = F.relu(self.convc2(from_correlation))
        from_flow = F.relu(self.convf2(F.relu(self.convf1(flow))))
        motion = F.relu(self.conv(torch.cat((from_correlation, from_flow), dim=1)))
        return torch.cat((motion, flow), dim=1)

    def _look_up(self, flow: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        """Return (N, h, w, 4 * K * K), K columns inside K rows of each level."""
        indices, fraction = _windows(flow, self.radius)
        batch, height, width = flow.shape[:3]
        size = (batch, height, width, LEVELS, 2 * self.radius + 2, 2 * self.radius + 2)
        if self.lookup == "volume":
            window = _from_volume(operands[0], indices).reshape(size)
        else:
            window = _from_features(operands[0], operands[1], indices)
        x, y = fraction[..., 0, :, None, None], fraction[..., 1, :, None, None]
        window = window[..., :-1] + x * (window[..., 1:] - window[..., :-1])
        window = window[..., :-1, :] + y * (window[..., 1:, :] - window[..., :-1, :])
        return window.reshape(batch, height, width, -1)


class Finish(nn.Module):
    """From the last hidden state and flow to the flow at full resolution."""

    def __init__(self, network: RAFT) -> None:
        super().__init__()
        block = copy.deepcopy(network.update_block)
        self.mask = None if isinstance(block, SmallUpdateBlock) else neighbours_inside(block.mask)

    def forward(self, hidden: Tensor, flow: Tensor) -> Tensor:
        """Return (N, 8 h, 8 w, 2) in pixels, float32."""
        if self.mask is None:
            return _bilinear(8 * flow)
        mask = 0.25 * cast(Tensor, self.mask(hidden.permute(0, 3, 1, 2)))
        return _convex(8 * flow, _full(mask).permute(0, 2, 3, 1))


def _full(maps: Tensor) -> Tensor:
    """Return half-precision maps in float32, others as they are."""
    return maps.float() if maps.dtype == torch.float16 else maps


def _windows(flow: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Return where the windows of all levels are.

    Returns:
        indices (N, h, w, 4, K, K), K = 2 * radius + 2, into the levels one after the other, whose
        first value is the one outside; the fractions of the coordinates (N, h, w, 2, 4), x, y.
    """
    _, height, width, _ = flow.shape
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)
    still = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)
    scales = torch.tensor([0.5**level for level in range(LEVELS)], dtype=flow.dtype)
    centres = (still + flow)[..., None] * scales
    whole = centres.floor()
    # In float: sums of whole numbers below 2**24 are exact, and runtimes fuse them.
    steps = torch.arange(-radius, radius + 2, dtype=flow.dtype)
    columns, rows = (((axis[-1:] + 1) * scales).floor()[:, None] for axis in (x, y))
    before = 1 + (rows * columns).cumsum(0) - rows * columns
    x, y = (whole[..., axis, :, None] + steps for axis in (0, 1))
    x = torch.where((x >= 0) & (x < columns), x, _OUTSIDE)
    y = torch.where((y >= 0) & (y < rows), y * columns + before, _OUTSIDE)
    indices = (y[..., :, None] + x[..., None, :]).clamp(min=0).to(torch.int32)
    return indices, centres - whole


def _from_volume(volume: Tensor, indices: Tensor) -> Tensor:
    """Gather values of each pixel's row of the volume, (N, h, w, L)."""
    batch, height, width, length = volume.shape
    rows = torch.arange(batch * height * width, dtype=torch.int32, device=volume.device) * length
    flat = indices + rows.reshape(batch, height, width, 1, 1, 1)
    return volume.reshape(-1).index_select(0, flat.reshape(-1))


def _from_features(pixels: Tensor, pyramid: Tensor, indices: Tensor) -> Tensor:
    """Multiply each pixel's features with those at its indices, (N, h, w, 4, K, K).

    Row by row of each level's windows: the gathered features of all together would take more
    memory than a small volume.
    """
    batch, height, width, levels, side, _ = indices.shape
    length, channels = pyramid.shape[2:]
    images = torch.arange(batch, dtype=torch.int32, device=pixels.device) * length
    flat = (indices + images.reshape(batch, 1, 1, 1, 1, 1)).permute(3, 4, 0, 1, 2, 5)
    rows = pyramid.reshape(-1, channels)
    queries = pixels.reshape(-1, channels, 1)
    products = [
        torch.bmm(
            rows.index_select(0, flat[level, row].reshape(-1)).reshape(-1, side, channels), queries
        )
        for level in range(levels)
        for row in range(side)
    ]
    return (
        torch.cat(products, dim=2).transpose(1, 2).reshape(batch, height, width, levels, side, side)
    )


def _bilinear(flow: Tensor) -> Tensor:
    """Upsample (N, h, w, 2) by 8, corners on corners, by two matrix products."""
    batch, height, width, _ = flow.shape
    rows = torch.bmm(
        _weights(height, flow).expand(batch, -1, -1), flow.reshape(batch, height, width * 2)
    )
    # For both components at once: the weights' matrix has zeros between x and y.
    both = _weights(width, flow).T[:, None, :, None] * torch.eye(2)[:, None, :].to(flow)
    pixels = rows.reshape(-1, width * 2) @ both.reshape(width * 2, width * 16)
    return pixels.reshape(batch, 8 * height, 8 * width, 2)


def _weights(size: int, like: Tensor) -> Tensor:
    """Return the weights of linear interpolation from ``size`` to 8 * size points."""
    points = torch.arange(8 * size, dtype=like.dtype, device=like.device)
    sources = torch.arange(size, dtype=like.dtype, device=like.device)
    distance = points[:, None] * ((size - 1) / (8 * size - 1)) - sources
    return (1 - distance.abs()).clamp(min=0)


def _convex(flow: Tensor, mask: Tensor) -> Tensor:
    """Upsample (N, h, w, 2) by 8 with logits (N, h, w, 64 * 9), zero outside."""
    batch, height, width, _ = flow.shape
    padded = F.pad(flow, (0, 0, 1, 1, 1, 1))
    lines = [padded[:, y : y + height] for y in range(3)]
    neighbours = torch.stack([line[:, :, x : x + width] for line in lines for x in range(3)], dim=3)
    count = batch * height * width
    weights = mask.reshape(count, 64, 9).softmax(dim=-1)
    pixels = torch.bmm(weights, neighbours.reshape(count, 9, 2))
    pixels = pixels.reshape(batch, height, width, 8, 8, 2)
    return pixels.transpose(2, 3).reshape(batch, 8 * height, 8 * width, 2)


def _gates(network: RAFT) -> list[list[nn.Conv2d]]:
    """Return the convolutions for update, reset and candidate of each GRU step."""
    gru = network.update_block.gru
    steps = ("1", "2") if isinstance(gru, SepConvGRU) else ("",)
    return [
        [cast(nn.Conv2d, getattr(gru, f"conv{gate}{step}")) for gate in "zrq"] for step in steps
    ]
