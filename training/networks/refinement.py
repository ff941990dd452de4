"""A second look at a flow: what is left between the images once it is taken out.

One step of Lucas and Kanade that layers learn when to trust. (FlowNet's paper refines its flow by a
variational method, "FlowNetS+v". Layers that see the two images and have to find out by themselves,
as in FlowNet 2.0 and LiteFlowNet, learnt nothing in 1,400 steps in which these took a tenth off the
error.)
"""

from functools import reduce
from operator import add, mul
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layers import LEAK, conv, predict_flow, warp
from training.networks.upsampling import multiplied

# Of the maps' values: where they vary by less over a window, motion is noise.
_DAMPING = 0.005
_NOISE = 0.1
_FURTHEST = 2.0  # pixels of the maps; a linear model is good for no more


class Appearance(nn.Sequential):
    """Maps of the images at half their resolution, two of each, in which the rest is measured."""

    def __init__(self) -> None:
        # One image's maps, then the other's. In two groups OpenVINO computes them slower.
        super().__init__(nn.Conv2d(6, 2 * 2, 4, stride=2, padding=1), nn.LeakyReLU(LEAK))

    def begin_alike(self) -> None:
        """Let them begin as the same maps, each of its image alone."""
        of_first, of_second = cast(nn.Conv2d, self[0]).weight.data.chunk(2)
        of_second[:, 3:] = of_first[:, :3]
        of_first[:, 3:] = 0
        of_second[:, :3] = 0


def by_image(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Part what `Appearance` returns, (N, 2 C, H, W), into the two images' (N, C, H, W)."""
    # Of channels that lie side by side, as a convolution leaves them, OpenVINO parts two halves in
    # three times the time that it takes to lay them out anew and read each as a whole.
    first, second = maps.unflatten(1, (2, -1)).unbind(1)
    return first, second


class Refinement(nn.Module):
    """Solves for what a flow leaves between two images' maps, and adds what is to be trusted of it.

    Args:
        context: channels of what it is judged by.
        hidden: channels of the layers that judge. How exact a match is does not depend on how wide
            the network is that found it.
        coarser: channels of the refinement's hidden layer at half the resolution, if there is one.
    """

    def __init__(self, context: int, *, hidden: int, coarser: int = 0) -> None:
        super().__init__()
        # One layer, of the context, of what the coarser refinement saw, and of what is left, in
        # four numbers, and the flow. In parts, because OpenVINO lays out anew what layers and other
        # operators join, and int8 has a step for each.
        self.context = nn.Conv2d(context, hidden, 3, padding=1)
        self.coarser = nn.ConvTranspose2d(coarser, hidden, 4, 2, 1, bias=False) if coarser else None
        self.left = nn.Conv2d(4 + 2, hidden, 3, padding=1, bias=False)
        self.hidden = conv(hidden, hidden)
        self.predict_residual = predict_flow(hidden)

    def forward(
        self,
        flow: Tensor,
        context: Tensor,
        maps: tuple[Tensor, Tensor],
        *,
        scale: float,
        coarser: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Refine a flow.

        Args:
            flow: (N, 2, H, W); no gradient passes to it, as in RAFT (arXiv 2003.12039): it has a
                loss of its own.
            context: (N, C, H, W).
            maps: the first image's and the second's, (N, M, 2 H, 2 W) float32.
            scale: pixels of the maps in the flow's unit.
            coarser: the hidden layer of the refinement at half the resolution, (N, C', H/2, W/2).

        Returns:
            The refined flow, and the hidden layer that it was predicted from.
        """
        flow = flow.detach()
        first, second = maps
        # What is looked for is a small difference: in float32 whatever the rest is computed in.
        with torch.autocast(flow.device.type, enabled=False):
            left = local_motion(first, warp(second, multiplied(flow.float() * scale, 2)))
        seen = torch.cat((left.to(context.dtype), flow.to(context.dtype)), dim=1)
        judged = self.context(context) + self.left(seen)
        if self.coarser is not None:
            judged = judged + self.coarser(coarser)
        hidden = self.hidden(F.leaky_relu(judged, LEAK))
        return flow + self.predict_residual(hidden), hidden


def local_motion(first: Tensor, second: Tensor) -> Tensor:
    """Solve for the small motion between two maps (Lucas and Kanade, 1981), and say how well.

    In windows of 6x6, around every second pixel's corner; damped where nothing varies (Levenberg
    and Marquardt), and with less weight where the maps differ much, which motion does not explain.

    Args:
        first: (N, C, H, W) float32; H even, W a multiple of 16.
        second: likewise.

    Returns:
        (N, 4, H/2, W/2): motion from first to second in pixels of the maps, x then y; whether the
        maps vary in all directions, 1, or in one alone, 0, along which motion does not show
        (Foerstner's roundness); and the logarithm of how much they vary.
    """
    difference, middle = second - first, F.pad(first + second, (1, 1, 1, 1), mode="replicate")
    along_x = (middle[:, :, 1:-1, 2:] - middle[:, :, 1:-1, :-2]) / 4
    along_y = (middle[:, :, 2:, 1:-1] - middle[:, :, :-2, 1:-1]) / 4
    # Map by map: OpenVINO computes a sum of a few maps in one pass, and a Reduce of them apart.
    t, x, y = difference.split(1, dim=1), along_x.split(1, dim=1), along_y.split(1, dim=1)
    weight = 1 / (reduce(add, map(torch.abs, t)) / len(t) + _NOISE)
    products = [
        reduce(add, map(mul, one, other)) * weight
        for one, other in ((x, x), (x, y), (y, y), (x, t), (y, t))
    ]
    xx, xy, yy, xt, yt = _window_means(torch.cat(products, dim=1)).chunk(5, dim=1)
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    u = ((xy * yt - yy * xt) / determinant).clamp(-_FURTHEST, _FURTHEST)
    v = ((xy * xt - xx * yt) / determinant).clamp(-_FURTHEST, _FURTHEST)
    trace = xx + yy
    return torch.cat((u, v, 4 * determinant / (trace * trace), trace.log()), dim=1)


def _window_means(planes: Tensor) -> Tensor:
    """As ``F.avg_pool2d(planes, 6, stride=2, padding=2)``; height even, width a multiple of 16.

    Two by two, then three by three. OpenVINO's pooling takes a few planes number by number: 0.48 ms
    instead of 0.15 of five planes of 192x256, on two cores.
    """
    batch, count, height, width = planes.shape
    pairs = torch.eye(8, device=planes.device).repeat_interleave(2, dim=0) / 36
    halves = planes.reshape(batch, count, height, width // 16, 16) @ pairs
    rows = halves.reshape(batch, count, height // 2, 2, width // 2)
    small = F.pad(rows[:, :, :, 0] + rows[:, :, :, 1], (1, 1, 1, 1))
    small = small[:, :, :-2] + small[:, :, 1:-1] + small[:, :, 2:]
    return small[..., :-2] + small[..., 1:-1] + small[..., 2:]
