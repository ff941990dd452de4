"""Both ways to upsample against each other and against a flow worked out by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.networks.upsampling import upsample_matmul, upsample_resize


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    factor=st.integers(1, 8),
    seed=st.integers(0, 2**31),
)
def test_both_ways_agree(batch, height, width, factor, seed):
    generator = torch.Generator().manual_seed(seed)
    flow = 60 * torch.randn(batch, 2, height, width, generator=generator)
    torch.testing.assert_close(
        upsample_matmul(flow, factor), upsample_resize(flow, factor), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("upsampling", [upsample_resize, upsample_matmul])
def test_worked_out_by_hand(upsampling):
    # One row, x of two pixels: 0 and 8. Twice as fine, centres lie at 1/4 and 3/4 between them.
    flow = torch.tensor([[[[0.0, 8.0]], [[1.0, 1.0]]]])
    result = upsampling(flow, 2)
    assert result.shape == (1, 2, 4, 2)
    for row in result[0]:
        assert row[:, 0].tolist() == [0.0, 2.0, 6.0, 8.0]
        assert row[:, 1].tolist() == [1.0] * 4
