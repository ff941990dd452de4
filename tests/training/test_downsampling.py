"""Halving by matrix products, against PyTorch's pooling."""

import pytest
import torch
import torch.nn.functional as F

from training.networks.downsampling import halve


@pytest.mark.parametrize("size", [(2, 4), (34, 52)])
def test_halving_against_pooling(size: tuple[int, int]) -> None:
    planes = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(halve(planes), F.avg_pool2d(planes, 2))
    torch.testing.assert_close(halve(planes, weight=1.0), 4 * F.avg_pool2d(planes, 2))
