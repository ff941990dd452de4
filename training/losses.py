"""The losses of FlowNet (resolutions), of RAFT (iterations) and of coarse-to-fine networks."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

# Of the mean end-point error of each flow, by its stride in strides of the finest flow. The papers'
# weights (.005 to .32) belong to errors *summed* over pixels; brought to means, they too put most
# of the weight on the finest.
LEVEL_WEIGHTS = {1: 0.44, 2: 0.22, 4: 0.11, 8: 0.11, 16: 0.11}


def endpoint_error(flow: Tensor, target: Tensor) -> Tensor:
    """Return the Euclidean distance of flow vectors: (N, 2, H, W) twice -> (N, 1, H, W).

    Differentiable; `engine.flow.metrics` has the error for reports.
    """
    # The small constant keeps the gradient finite where the prediction is exact.
    return ((flow - target).square().sum(dim=1, keepdim=True) + 1e-8).sqrt()


def at_stride(target: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Bring a target to a stride by averaging, as FlowNet does (arXiv 1504.06852).

    Args:
        target: (N, 2, H, W).
        weight: (N, 1, H, W), how much each pixel counts; those of weight zero are left out.
        stride: pixels by side that become one.

    Returns:
        The target and the mean weight of each new pixel.
    """
    level = F.avg_pool2d(weight, stride)
    return F.avg_pool2d(target * weight, stride) / level.clamp(min=1e-6), level


def multiscale_loss(flows: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean end-point error over levels and pixels.

    The target is brought to each level by `at_stride`.

    Args:
        flows: the network's output, finest first, (N, 2, H/s, W/s) each.
        target: (N, 2, H, W) in the network's units (pixels / flow_scale).
        weight: (N, 1, H, W), how much each pixel counts, 0..1.
    """
    loss = target.new_zeros(())
    weighted = target * weight
    finest = flows[0].shape[-1]
    for flow in flows:
        stride = target.shape[-1] // flow.shape[-1]
        level = F.avg_pool2d(weight, stride)
        level_target = F.avg_pool2d(weighted, stride) / level.clamp(min=1e-6)
        error = endpoint_error(flow.float(), level_target) * level
        loss = loss + LEVEL_WEIGHTS[finest // flow.shape[-1]] * error.sum() / level.sum().clamp(
            min=1
        )
    return loss


# RAFT (princeton-vl/RAFT, train.py): weight of an iteration's loss relative to the next one's, and
# the length in pixels from which on a motion is left out.
ITERATION_DECAY = 0.8
MAX_MOTION = 400.0


def sequence_loss(flows: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
    """Sum over the iterations of the mean absolute error of both components of the flow.

    Args:
        flows: of each iteration, the last one first, (N, 2, H, W) in pixels.
        target: (N, 2, H, W) in pixels.
        weight: (N, 1, H, W), how much each pixel counts, 0..1; the mean is over all pixels.
    """
    weight = weight * (target.square().sum(dim=1, keepdim=True) < MAX_MOTION**2)
    loss = target.new_zeros(())
    for place, flow in enumerate(flows):
        loss = loss + ITERATION_DECAY**place * ((flow.float() - target).abs() * weight).mean()
    return loss


# Pixels. Below it an error counts by its size, above it by its ratio.
_FLOOR = 0.08


def relative_loss(
    flows: Sequence[Tensor],
    shares: Sequence[float],
    target: Tensor,
    weight: Tensor,
    *,
    flow_scale: float,
) -> Tensor:
    """Logarithm of each sample's mean end-point error, averaged over samples; summed over flows.

    Where motion spans three decades, so do its errors, and the few fastest samples would make up a
    plain mean. The mean of logarithms is the logarithm of a geometric mean.

    Args:
        flows: (N, 2, h, w) of any sizes, in the network's units.
        shares: weight of each flow in the sum.
        target: (N, 2, H, W) in the network's units (pixels / flow_scale).
        weight: (N, 1, H, W), how much each pixel counts, 0..1.
        flow_scale: pixels in the network's unit.
    """
    loss = target.new_zeros(())
    levels: dict[int, tuple[Tensor, Tensor]] = {}
    for flow, share in zip(flows, shares, strict=True):
        width = flow.shape[-1]
        if width not in levels:
            levels[width] = _at_size(target, weight, (flow.shape[-2], width))
        level_target, level = levels[width]
        errors = (endpoint_error(flow.float(), level_target) * level).sum((1, 2, 3))
        means = flow_scale * errors / level.sum((1, 2, 3)).clamp(min=1e-3)
        loss = loss + share * (means + _FLOOR).log().mean()
    return loss


def _at_size(target: Tensor, weight: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """As `at_stride`, for sizes that the target's is no multiple of."""
    level = F.adaptive_avg_pool2d(weight, size)
    return F.adaptive_avg_pool2d(target * weight, size) / level.clamp(min=1e-6), level
