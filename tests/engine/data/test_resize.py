"""Resizing of a pair: constant flow, means by hand, unknown pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.data.pair import Pair
from engine.data.resize import resize_pair


def pair_of(flow, valid):
    image = np.zeros((*valid.shape, 3), np.uint8)
    return Pair("pair", image, image, np.where(valid[..., None], flow, np.float32(np.nan)))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_constant_flow_stays_constant(height, width, seed):
    valid = np.random.default_rng(seed).random((13, 17)) < 0.7
    flow = np.broadcast_to(np.float32([3, -5]), (13, 17, 2))
    small = resize_pair(pair_of(flow, valid), height, width)
    assert small.image1.shape == (height, width, 3)
    assert small.flow.dtype == np.float32
    expected = [3 * width / 17, -5 * height / 13]
    np.testing.assert_allclose(
        small.flow[small.valid], np.broadcast_to(expected, (small.valid.sum(), 2)), rtol=1e-4
    )
    assert np.isnan(small.flow[~small.valid]).all()


def test_halving_averages_the_valid_pixels():
    flow = np.arange(32, dtype=np.float32).reshape(4, 4, 2)
    valid = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
    small = resize_pair(pair_of(flow, valid), 2, 2)
    # Four, one, none and two of the four pixels below are valid; half of them is enough.
    np.testing.assert_array_equal(small.valid, [[True, False], [False, True]])
    np.testing.assert_allclose(small.flow[0, 0], flow[:2, :2].mean(axis=(0, 1)) / 2)
    np.testing.assert_allclose(small.flow[1, 1], (flow[2, 2] + flow[3, 3]) / 2 / 2)


def test_own_size_is_left_alone():
    pair = pair_of(np.ones((4, 5, 2), np.float32), np.ones((4, 5), bool))
    assert resize_pair(pair, 4, 5) is pair
