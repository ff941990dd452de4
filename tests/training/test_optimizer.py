"""The optimizer against singular value decompositions and against torch's own AdamW."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from training.optimizer import Optimizer


def network() -> nn.Sequential:
    """Two kernels that are matrices, one with few inputs and one with few outputs."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 12, 3),
        nn.Conv2d(12, 16, 3),
        nn.ConvTranspose2d(16, 10, 4),
        nn.Conv2d(10, 2, 3),
    )
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def with_gradients(one: nn.Sequential) -> nn.Sequential:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    one(images).square().mean().backward()
    return one


@pytest.mark.parametrize("layer", [1, 2])
def test_a_matrix_moves_as_far_in_all_directions(layer: int) -> None:
    trained = with_gradients(network())
    before = copy.deepcopy(trained)
    Optimizer(trained, lr=0.1, weight_decay=0.0).step()
    weight, gradient = trained[layer].weight, trained[layer].weight.grad
    moved = (weight - before[layer].weight).detach().double().flatten(1).numpy()
    assert gradient is not None
    left, _, right = np.linalg.svd(gradient.double().flatten(1).numpy(), full_matrices=False)
    along = -(left.T @ moved @ right.T) / (0.1 * 0.2 * np.sqrt(max(moved.shape)))
    # Muon's few steps in bfloat16 bring each length to 1 within about a third.
    assert np.diag(along) == pytest.approx(1, abs=0.4)
    assert np.abs(along - np.diag(np.diag(along))).max() < 0.1


def test_what_is_no_matrix_moves_as_by_adamw() -> None:
    """That is the first kernel, the last one and all biases, which do not decay."""
    trained, expected = with_gradients(network()), with_gradients(network())
    kernels = [expected[0].weight, expected[3].weight]
    biases = [layer.bias for layer in expected]
    optimizer = Optimizer(trained, lr=0.1, weight_decay=0.3)
    torch.optim.AdamW(kernels, lr=0.1, weight_decay=0.3).step()
    torch.optim.AdamW(biases, lr=0.1, weight_decay=0.0).step()
    optimizer.step()
    for index in (0, 3):
        torch.testing.assert_close(trained[index].weight, expected[index].weight)
    for one, two in zip(trained, expected, strict=True):
        torch.testing.assert_close(one.bias, two.bias)


def test_a_matrix_decays() -> None:
    """Without a gradient's direction there is the decay alone: 1 - lr * decay."""
    trained = network()
    before = copy.deepcopy(trained)
    for parameter in trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Optimizer(trained, lr=0.1, weight_decay=0.3).step()
    torch.testing.assert_close(trained[1].weight, before[1].weight * 0.97)


def test_gradients_are_forgotten() -> None:
    trained = with_gradients(network())
    Optimizer(trained, lr=0.1, weight_decay=0.0).zero_grad()
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_the_learning_rate_is_set_for_all() -> None:
    trained = with_gradients(network())
    before = copy.deepcopy(trained)
    optimizer = Optimizer(trained, lr=0.1, weight_decay=0.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    for one, two in zip(trained.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_kernel_in_another_memory_format_is_refused() -> None:
    with pytest.raises(ValueError, match="channels_last"):
        Optimizer(network().to(memory_format=torch.contiguous_format), lr=0.1, weight_decay=0.0)
