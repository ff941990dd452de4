"""Halving, against PyTorch's pooling."""

import pytest
import torch
import torch.nn.functional as F

from training.networks.downsampling import cells, halve


@pytest.mark.parametrize("size", [(2, 4), (34, 52)])
def test_halving_against_pooling(size: tuple[int, int]) -> None:
    planes = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(halve(planes), F.avg_pool2d(planes, 2))
    assert cells(planes)[1, 2, 1, 0, 0, 1] == planes[1, 2, 1, 2]
