"""Flow refinement: a Lucas-Kanade step on the warped images, weighted by learnt layers.

FlowNet's paper refines its flow with a variational method ("FlowNetS+v"). Layers that receive both
images and have to learn the matching themselves, as in FlowNet 2.0 and LiteFlowNet, did not reduce
the error in 1,400 steps; this refinement reduced it by a tenth in the same steps.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add, mul

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.downsampling import cells
from training.networks.layers import LEAK, conv, pixel_centres, predict_flow

# Kernels that treat both images of a pair alike.
_OF_EACH = np.eye(2)[..., None, None]
# ITU-R BT.601's luma.
_GREY = np.array((0.299, 0.587, 0.114))[None, :, None, None]
# Central differences, smoothed by (1, 2, 1) along and across, along x and along y.
_STEP, _ACROSS = np.array((-1.0, -2, 0, 2, 1)) / 8, np.array((0.0, 1, 2, 1, 0)) / 4
_ALONG_X = np.outer(_ACROSS, _STEP)
_GAIN = 32.0
_DERIVATIVES = np.kron(_OF_EACH, _GAIN * np.stack((_ALONG_X, _ALONG_X.T))[:, None])
# In units of the maps' values: below this gradient energy, motion is noise.
_DAMPING = 0.005
_NOISE = 0.03
# The gradient of an edge of one grey level of 255, which is not rounded away.
_EDGE = _GAIN * float(_STEP[_STEP > 0].sum()) / 255
_MAX_MOTION = 2.0  # pixels of the maps; the linear model does not hold beyond


def gradient_maps(images: Tensor, *, stride: int) -> Tensor:
    """Return the maps that residual motion is measured on: derivatives of the smoothed grey images.

    Constant between frames that differ in brightness alone, as in Brox et al. (ECCV 2004). They are
    not learnt: the error with learnt ones was larger (docs/experiments.md).

    Args:
        images: the pair, (N, 6, H, W), RGB in any range of length 1.
        stride: pixels by side that become one.

    Returns:
        (N, 4, H / stride, W / stride) float32: along x and along y, of the first image, then of the
        second.
    """
    mean = np.kron(_OF_EACH, np.kron(_GREY, np.full((stride, stride), 1 / stride**2)))
    grey = F.conv2d(images.float(), torch.from_numpy(mean).to(images.device).float(), stride=stride)
    return derivatives(grey)


def derivatives(grey: Tensor) -> Tensor:
    """Return smoothed derivatives: one operator of exported graphs (`export.graph.operators`).

    Args:
        grey: the pair, (N, 2, H, W) float32.

    Returns:
        (N, 4, H, W), in the order of `gradient_maps`.
    """
    padded = F.pad(grey, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(padded, torch.from_numpy(_DERIVATIVES).to(grey))


def visible(maps: Tensor) -> Tensor:
    """Return 1 for pairs with any gradient, 0 for those without, (N, 1, 1, 1).

    Args:
        maps: of `gradient_maps`.
    """
    return (maps.abs().amax(dim=(1, 2, 3), keepdim=True) / _EDGE).clamp(max=1.0)


def by_image(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Split maps of a pair, (N, 2 C, ...), into the two images' (N, C, ...)."""
    # unflatten and unbind, not chunk: in OpenVINO a split along channels of channels-last data
    # takes three times as long as a reorder to planar layout followed by reading each half.
    first, second = maps.unflatten(1, (2, -1)).unbind(1)
    return first, second


class Refinement(nn.Module):
    """Measures the motion that remains after warping, and adds a learnt correction to the flow.

    Args:
        context: channels of the context features.
        hidden: channels of the hidden layers. Their number does not scale with the network's
            width: the precision of a match does not depend on it.
        coarser: channels of the hidden layer of the refinement at half the resolution; 0: none.
    """

    def __init__(self, context: int, *, hidden: int, coarser: int = 0) -> None:
        super().__init__()
        # One layer over the concatenation of context, coarser hidden layer, residual motion and
        # flow, written as a sum of layers: OpenVINO reorders concatenated inputs of different
        # producers, and int8 has one step for each layer's input.
        self.context = nn.Conv2d(context, hidden, 3, padding=1)
        self.coarser = nn.ConvTranspose2d(coarser, hidden, 4, 2, 1, bias=False) if coarser else None
        self.left = nn.Conv2d(5 + 2, hidden, 3, padding=1, bias=False)
        self.hidden = conv(hidden, hidden)
        self.predict_residual = predict_flow(hidden)

    def forward(
        self,
        flow: Tensor,
        context: Tensor,
        maps: Tensor,
        *,
        scale: float,
        coarser: Tensor | None = None,
        steps: int = 1,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Refine a flow.

        Args:
            flow: (N, 2, H, W). It is detached, as in RAFT (arXiv 2003.12039): it has its own loss.
            context: (N, C, H, W).
            maps: of the pair, (N, 2 M, 2 H, 2 W) float32.
            scale: pixels of the maps per unit of the flow.
            coarser: hidden layer of the refinement at half the resolution, (N, C', H/2, W/2).
            steps: how often; each time the motion that remains is measured anew.

        Returns:
            The flow after each step, the last one first, and the hidden layer that that one was
            predicted from.
        """
        first, second = by_image(maps)
        # Not by_image(cells(maps)): in int8 and with dynamic sizes OpenVINO 2026.4.1 moves a
        # division in front of it behind it, and computes it wrongly over seven axes.
        first = cells(first)
        given = self.context(context)
        if self.coarser is not None:
            given = given + self.coarser(coarser)
        flows: list[Tensor] = []
        for _ in range(steps):
            flow = flow.detach()
            # Always float32: the measured differences are small.
            with torch.autocast(flow.device.type, enabled=False):
                residual = remaining_motion(flow.float() * scale, first, second)
            measured = torch.cat((residual.to(context.dtype), flow.to(context.dtype)), dim=1)
            hidden = self.hidden(F.leaky_relu(given + self.left(measured), LEAK))
            flow = flow + self.predict_residual(hidden)
            flows.insert(0, flow)
        return tuple(flows), hidden


def remaining_motion(flow: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Measure the motion that is left after warping.

    One operator of exported graphs, too.

    Args:
        flow: (N, 2, H, W) float32, in pixels of the maps.
        first: maps of the first image, (N, C, 2, 2, H, W) float32, as of `cells`.
        second: of the second image, (N, C, 2 H, 2 W) float32.

    Returns:
        (N, 5, H, W), of `local_motion`.
    """
    return local_motion(first, warp_cells(second, flow))


def warp_cells(maps: Tensor, flow: Tensor) -> Tensor:
    """Backward-warp maps of the second image to the first; the pixels of a cell move alike.

    Bilinear, and clamping coordinates to the border, as `training.networks.layers.warp`.

    Args:
        maps: (N, C, 2 H, 2 W) float32.
        flow: (N, 2, H, W), in pixels of the maps.

    Returns:
        (N, C, 2, 2, H, W), as of `cells`.
    """
    batch, _, height, width = flow.shape
    centres, unit = pixel_centres(maps.permute(0, 2, 3, 1))
    # A line of numbers for each row: OpenVINO computes along the last axis, and two are too few.
    places = centres.reshape(height, 2, width, 2, 2).permute(1, 3, 0, 2, 4)
    lines = flow.permute(0, 2, 3, 1).reshape(batch, 1, height, 2 * width)
    units = unit.expand(width, 2).reshape(2 * width)
    grid = places.reshape(1, 4, height, 2 * width) + lines * units
    grid = grid.reshape(batch, 4 * height, width, 2)
    moved = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return moved.reshape(batch, -1, 2, 2, height, width)


def local_motion(first: Tensor, second: Tensor) -> Tensor:
    """Estimate small motion between two maps and its reliability (Lucas and Kanade, 1981).

    Windows are 3x3 cells, with stride 1. The normal equations are damped (Levenberg-Marquardt), and
    cells where the maps differ strongly, which small motion cannot explain, have less weight.

    Args:
        first: (N, C, 2, 2, H, W) float32, as of `cells`.
        second: likewise.

    Returns:
        (N, 5, H, W): motion from first to second in pixels of the maps, x then y; Foerstner's
        roundness, 1 where the gradients point in all directions, 0 where in one only (the aperture
        problem); the logarithm of the gradient energy; and how much the maps differ, 0 to 1.
    """
    t, total = _planes(second - first), first + second
    x, y = _along(total, -1), _along(total, -2)
    differs = reduce(add, map(torch.abs, t)) / len(t)
    weight = 1 / (differs + _NOISE)
    # x and y are four times the mean of both images' derivatives, and a cell has four pixels.
    products = [
        *(_dot(one, other) / 64 * weight for one, other in ((x, x), (x, y), (y, y))),
        *(_dot(one, t) / 16 * weight for one in (x, y)),
    ]
    xx, xy, yy, xt, yt, left = _window_means([*products, differs * weight])
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    u = ((xy * yt - yy * xt) / determinant).clamp(-_MAX_MOTION, _MAX_MOTION)
    v = ((xy * xt - xx * yt) / determinant).clamp(-_MAX_MOTION, _MAX_MOTION)
    trace = xx + yy
    return torch.cat((u, v, 4 * determinant / (trace * trace), trace.log(), left), dim=1)


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    # OpenVINO fuses a sum of a few planes into one pass, but not a Reduce over them.
    return reduce(add, map(mul, one, other))


def _planes(placed: Tensor) -> tuple[Tensor, ...]:
    """Split (N, C, 2, 2, H, W) into planes (N, 1, H, W)."""
    return placed.flatten(1, 3).split(1, dim=1)


def _along(placed: Tensor, axis: int) -> list[Tensor]:
    """Return the difference of the pixels on both sides of each, in the order of `_planes`.

    Args:
        placed: (N, C, 2, 2, H, W).
        axis: -1, along x, or -2, along y. Beyond the border, its pixels are repeated.
    """
    one, two = placed.unbind(axis - 2)
    last = one.shape[axis] - 1
    before = torch.cat((one.narrow(axis, 0, 1), two.narrow(axis, 0, last)), dim=axis)
    after = torch.cat((one.narrow(axis, 1, last), two.narrow(axis, last, 1)), dim=axis)
    sides = [side.flatten(1, 2).split(1, dim=1) for side in (two - before, after - one)]
    # As lists of planes: stacked, they would be copied. The places along x alternate, those along y
    # come in pairs.
    count = -axis
    starts = range(0, len(sides[0]), count)
    return [plane for start in starts for side in sides for plane in side[start : start + count]]


def _window_means(planes: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the means of windows of 3x3 cells of each plane, (N, 1, H, W); nothing is outside."""
    padded = F.pad(torch.cat(planes, dim=1), (1, 1, 1, 1))
    # As sums of slices: 0.4 of the time of pooling in OpenVINO.
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    windows = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return (windows / 9).split(1, dim=1)
