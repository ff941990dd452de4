"""The loss against hand-worked numbers."""

import pytest
import torch

from training.losses import (
    LEVEL_WEIGHTS,
    at_stride,
    endpoint_error,
    multiscale_loss,
    sequence_loss,
)


def test_endpoint_error_by_hand() -> None:
    flow = torch.tensor([3.0, 4.0])[None, :, None, None]
    assert endpoint_error(flow, torch.zeros_like(flow)).item() == pytest.approx(5.0)


def test_endpoint_error_has_a_gradient_at_zero() -> None:
    flow = torch.zeros(1, 2, 1, 1, requires_grad=True)
    endpoint_error(flow, torch.zeros_like(flow)).sum().backward()
    assert flow.grad is not None
    assert torch.isfinite(flow.grad).all()


def levels(value: float) -> tuple[torch.Tensor, ...]:
    return tuple(torch.full((1, 2, 64 // s, 64 // s), value) for s in (4, 8, 16, 32, 64))


def test_constant_error_at_every_level() -> None:
    """Every level is off by (3, 4), so the loss is 5 times the sum of the level weights."""
    target = torch.zeros(1, 2, 64, 64)
    flows = tuple(f * torch.tensor([3.0, 4.0])[:, None, None] for f in levels(1.0))
    loss = multiscale_loss(flows, target, torch.ones(1, 1, 64, 64))
    assert loss.item() == pytest.approx(5 * sum(LEVEL_WEIGHTS.values()), rel=1e-4)


def test_pixels_of_weight_zero_do_not_count() -> None:
    target = torch.zeros(1, 2, 64, 64)
    target[..., :32] = 1000.0
    weight = torch.ones(1, 1, 64, 64)
    weight[..., :32] = 0
    loss = multiscale_loss(levels(0.0), target, weight)
    assert loss.item() == pytest.approx(0, abs=2e-3)


def test_target_is_averaged() -> None:
    """Half 0 and half 2 under one coarse pixel is 1 there: only the coarsest level is right."""
    target = torch.zeros(1, 2, 64, 64)
    target[..., 32:] = 2.0
    loss = multiscale_loss(levels(1.0), target, torch.ones(1, 1, 64, 64))
    expected = 2**0.5 * sum(LEVEL_WEIGHTS[step] for step in (1, 2, 4, 8))
    assert loss.item() == pytest.approx(expected, rel=1e-3)


def test_a_target_at_a_stride_by_hand() -> None:
    """The mean of the known pixels: 3 of (2, 4); 9 of (9, unknown); nothing of none."""
    target = torch.tensor([[2.0, 4.0, 9.0, 77.0, 5.0, 5.0]] * 2).expand(1, 2, 2, 6).contiguous()
    weight = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]] * 2).expand(1, 1, 2, 6)
    small, level = at_stride(target, weight, 2)
    assert small[0, 0].tolist() == [[3.0, 9.0, 0.0]]
    assert level[0, 0].tolist() == [[1.0, 0.5, 0.0]]


def test_sequence_loss_by_hand() -> None:
    """Two iterations, off by 1 and 3 in x: (1 + 0.8 * 3) / 2, as y counts in the mean."""
    target = torch.zeros(1, 2, 4, 4)
    off = torch.tensor([1.0, 0.0])[:, None, None]
    flows = (target + off, target + 3 * off)
    assert sequence_loss(flows, target, torch.ones(1, 1, 4, 4)).item() == pytest.approx(1.7)
    # The mean is over all pixels, known or not, as published.
    half = torch.ones(1, 1, 4, 4)
    half[..., :2] = 0
    assert sequence_loss(flows, target, half).item() == pytest.approx(0.85)


def test_sequence_loss_leaves_out_very_long_motion() -> None:
    target = torch.full((1, 2, 4, 4), 300.0)  # 424 pixels
    assert sequence_loss((torch.zeros(1, 2, 4, 4),), target, torch.ones(1, 1, 4, 4)).item() == 0
