"""Ranges of the int8 weights: of each output channel the one with the least rounding error.

Weights have 7 bits, so that CPUs without VNNI compute them correctly (`SAFE_INT8_WEIGHT`). Their
steps are wide, and it pays to clip the largest weights for finer steps of all others.

Training with fake quantisation and export choose the ranges with this code, so they agree.
"""

import torch
from torch import Tensor

from engine.system.cpu import SAFE_INT8_WEIGHT

# Ranges that are tried, relative to the largest weight of the channel; of equal ones the first.
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


def weight_ranges(weights: Tensor, axis: int) -> Tensor:
    """Return the magnitude that the code `SAFE_INT8_WEIGHT` stands for, by output channel.

    Args:
        weights: (out, in, H, W), or (in, out, H, W).
        axis: of the output channels.

    Returns:
        Of four axes, all but `axis` of length 1.
    """
    others = [other for other in range(4) if other != axis]
    largest = weights.abs().amax(others, keepdim=True)
    relative = weights / largest.clamp(min=torch.finfo(weights.dtype).tiny)
    errors = []
    for share in _SHARES:
        step = share / SAFE_INT8_WEIGHT
        codes = (relative / step).round_().clamp_(-SAFE_INT8_WEIGHT, SAFE_INT8_WEIGHT)
        errors.append(codes.mul_(step).sub_(relative).square_().sum(others, keepdim=True))
    best = torch.stack(errors).argmin(0)
    return largest * torch.tensor(_SHARES, dtype=weights.dtype, device=weights.device)[best]
