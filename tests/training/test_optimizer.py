"""The optimizer against singular value decompositions and against torch's own AdamW."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from training.optimizer import Muon, Optimizer, muon, orthogonalised


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


def optimizer_of(one: nn.Sequential, weight_decay: float = 0.0) -> Optimizer:
    return muon(one, lr=0.1, weight_decay=weight_decay, dtype=torch.float32)


@pytest.mark.parametrize("shape", [(7, 50), (50, 7), (20, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_become_one(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Of matrices whose own lie between 1 and 100: about 1, along the same directions."""
    generator = np.random.default_rng(0)
    left, _, right = np.linalg.svd(generator.normal(size=shape), full_matrices=False)
    matrix = left * np.geomspace(1, 100, min(shape)) @ right
    found = orthogonalised(torch.from_numpy(matrix).to(dtype)).double().numpy()
    along = left.T @ found @ right.T
    assert np.diag(along) == pytest.approx(1, abs=0.4)
    assert np.abs(along - np.diag(np.diag(along))).max() < (1e-4 if dtype == torch.float32 else 0.1)


def test_no_gradient_has_no_direction() -> None:
    assert not orthogonalised(torch.zeros(6, 8)).any()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_steps_are_those_of_pytorch(steps: int) -> None:
    """Its Muon takes matrices alone, in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(12, 8, 3, 3, generator=generator))
    theirs = nn.Parameter(ours.detach().flatten(1).clone())
    settings = {"lr": 0.1, "weight_decay": 0.3}
    muon = Muon([ours], **settings, dtype=torch.bfloat16)
    expected = torch.optim.Muon([theirs], **settings, adjust_lr_fn="match_rms_adamw")
    for _ in range(steps):
        ours.grad = torch.randn(ours.shape, generator=generator)
        theirs.grad = ours.grad.flatten(1)
        muon.step()
        expected.step()
    torch.testing.assert_close(ours.flatten(1), theirs)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_matrix_moves_as_far_in_all_directions(layer: int) -> None:
    trained = with_gradients(network())
    before = copy.deepcopy(trained)
    optimizer_of(trained).step()
    weight, gradient = trained[layer].weight, trained[layer].weight.grad
    moved = (weight - before[layer].weight).detach().double().flatten(1).numpy()
    assert gradient is not None
    left, _, right = np.linalg.svd(gradient.double().flatten(1).numpy(), full_matrices=False)
    along = -(left.T @ moved @ right.T) / (0.1 * 0.2 * np.sqrt(max(moved.shape)))
    assert np.diag(along) == pytest.approx(1, abs=0.4)
    assert np.abs(along - np.diag(np.diag(along))).max() < 0.1


def test_what_is_no_matrix_moves_as_by_adamw() -> None:
    """That is the first kernel, the last one and all biases, which do not decay."""
    trained, expected = with_gradients(network()), with_gradients(network())
    kernels = [expected[0].weight, expected[3].weight]
    biases = [layer.bias for layer in expected]
    optimizer = optimizer_of(trained, weight_decay=0.3)
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
    optimizer_of(trained, weight_decay=0.3).step()
    torch.testing.assert_close(trained[1].weight, before[1].weight * 0.97)


def test_gradients_are_forgotten() -> None:
    trained = with_gradients(network())
    optimizer_of(trained).zero_grad()
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_the_learning_rate_is_set_for_all() -> None:
    trained = with_gradients(network())
    before = copy.deepcopy(trained)
    optimizer = optimizer_of(trained)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    for one, two in zip(trained.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, two)
