"""The FlowNet loss: end-point error at every resolution the network predicts."""

import torch.nn.functional as F
from torch import Tensor

# From the finest level (1/4) to the coarsest (1/64), of the mean end-point error per level. The
# papers' weights (.005 to .32) belong to errors *summed* over pixels; brought to means, they too
# put most of the weight on the finest level.
LEVEL_WEIGHTS = (0.44, 0.22, 0.11, 0.11, 0.11)


def end_point_error(flow: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance of flow vectors: (N, 2, H, W) twice -> (N, 1, H, W)."""
    # The small constant keeps the gradient finite where the prediction is exact.
    return ((flow - target).square().sum(dim=1, keepdim=True) + 1e-8).sqrt()


def multiscale_loss(flows: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean end-point error over levels and pixels.

    The target is brought to each level by averaging, as in FlowNet (arXiv 1504.06852), leaving out
    pixels of weight zero.

    Args:
        flows: the network's output, finest first, (N, 2, H/s, W/s) each.
        target: (N, 2, H, W) in the network's units (pixels / flow_scale).
        weight: (N, 1, H, W), how much each pixel counts, 0..1.
    """
    loss = target.new_zeros(())
    weighted = target * weight
    for flow, level_weight in zip(flows, LEVEL_WEIGHTS, strict=True):
        stride = target.shape[-1] // flow.shape[-1]
        level = F.avg_pool2d(weight, stride)
        level_target = F.avg_pool2d(weighted, stride) / level.clamp(min=1e-6)
        error = end_point_error(flow.float(), level_target) * level
        loss = loss + level_weight * error.sum() / level.sum().clamp(min=1)
    return loss
