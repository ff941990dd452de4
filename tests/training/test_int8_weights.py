"""Ranges of int8 weights, against errors worked out by hand."""

import pytest
import torch

from training.int8.weights import weight_ranges


@pytest.mark.parametrize("axis", [0, 1])
def test_an_outlier_is_clipped_where_that_costs_less_than_it_saves(axis: int) -> None:
    """Of a range r, 2000 weights lose (r / 64)**2 / 12 each, and the outlier (1 - r)**2.

    Their sum is 0.0407 for r = 1, 0.0392 for 0.95 and 0.0430 for 0.9.
    """
    weights = torch.zeros(2, 1, 1, 2001)
    weights[0, ..., :2000] = torch.linspace(-0.5, 0.5, 2000)
    weights[0, ..., 2000] = -1.0
    weights[1, ..., :129] = torch.arange(-64, 65) * 3.0  # 129 codes: nothing is lost
    ranges = weight_ranges(weights.transpose(0, axis), axis)
    assert ranges.shape == ((2, 1, 1, 1) if axis == 0 else (1, 2, 1, 1))
    torch.testing.assert_close(ranges.flatten(), torch.tensor([0.95, 192.0]))


def test_zeros_have_no_range() -> None:
    assert weight_ranges(torch.zeros(1, 2, 3, 3), 0).item() == 0
