"""Overlapping tiles along an axis."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.images.tiling import segments


@given(st.data(), st.sampled_from([8, 64]), st.integers(1, 60))
def test_tiles_cover_an_axis_and_their_weights_sum_to_1(data, divisor, length):
    overlap = data.draw(st.integers(1, 4))
    tile = data.draw(st.integers(2 * overlap, 4 * overlap))
    length, overlap, tile = (divisor * units for units in (length, overlap, tile))
    parts = segments(length, tile, overlap, divisor)
    total = np.zeros(length)
    for part in parts:
        assert part.start % divisor == 0
        assert len(part.weights) == min(tile, length)
        assert (part.weights > 0).all()
        total[part.pixels] += part.weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for before, after in itertools.pairwise(parts):
        assert 0 < after.start - before.start <= tile - overlap
    # One tile less would not reach the end.
    assert tile + max(0, len(parts) - 2) * (tile - overlap) < length or len(parts) == 1


def test_two_tiles_by_hand():
    """384 pixels in tiles of 256: the pixels 128 to 256 are shared, half each in the middle."""
    left, right = segments(384, 256, 128, 64)
    assert (left.start, right.start) == (0, 128)
    assert (left.weights[:128] == 1).all()
    assert (right.weights[128:] == 1).all()
    np.testing.assert_allclose(left.weights[128:], right.weights[:128][::-1])
    np.testing.assert_allclose(left.weights[[191, 192]].mean(), 0.5)
    quarter = np.sin(np.pi / 8) ** 2  # a quarter of the way
    np.testing.assert_allclose(right.weights[[31, 32]].mean(), quarter, atol=1e-4)
