"""The forward-backward test, by hand and on a scene with known occlusion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.flow.occlusion import mismatch, occlusion


def test_by_hand():
    """One row. |f + b|^2 against 0.01 (|f|^2 + |b|^2) + 0.5.

    (0): f = 2, b there -2: 0 against 0.58. (1): f = 2, b there -1.2: 0.64 against 0.5544.
    (2): f = 0, b = -2: 4 against 0.54. (3): f = 1 leaves the image.
    """
    forward, backward = np.zeros((2, 1, 4, 2))
    forward[0, :, 0] = 2, 2, 0, 1
    backward[0, :, 0] = 9, 9, -2, -1.2
    assert occlusion(forward, backward).tolist() == [[False, True, True, True]]
    np.testing.assert_allclose(mismatch(forward, backward), [[0, 0.64, 4, np.nan]], rtol=1e-6)


def test_the_tolerance_grows_with_the_motion():
    """An error of 2 px: 4 against 0.5 at rest, against 0.01 (100^2 + 98^2) + 0.5 = 196.5 at 100."""
    forward, backward = np.zeros((2, 1, 200, 2))
    backward[..., 0] = 2
    assert occlusion(forward, backward).all()
    forward[:, :90, 0], backward[..., 0] = 100, -98
    assert not occlusion(forward, backward)[:, :90].any()


def test_long_vectors_of_half_precision():
    """300^2 is more than a float16 holds."""
    forward, backward = np.zeros((2, 1, 400, 2), np.float16)
    forward[:, :90, 0], backward[..., 0] = 300, -200
    assert occlusion(forward, backward).all()


def test_unknown_flow_is_occluded():
    forward, backward = np.zeros((2, 3, 2, 3, 2))
    forward[0, 0, 0], backward[2] = np.nan, 1e30
    found = occlusion(forward, backward)
    assert found.shape == (3, 2, 3)
    assert np.argwhere(found[:2]).tolist() == [[0, 0, 0]]
    assert found[2].all()


@given(st.integers(-9, 9), st.integers(0, 12), st.integers(1, 6))
def test_a_square_before_a_still_background(step, left, size):
    """It hides the columns that it moves onto and that it did not cover before."""
    before = np.zeros((1, 24), bool)
    before[:, left : left + size] = True
    after = np.zeros_like(before)
    after[:, max(0, left + step) : max(0, left + step + size)] = True
    forward, backward = np.zeros((2, 1, 24, 2))
    forward[before], backward[after] = (step, 0), (-step, 0)
    target = np.arange(24) + forward[..., 0]
    expected = (after & ~before) | (target < 0) | (target > 23)
    np.testing.assert_array_equal(occlusion(forward, backward), expected)


def test_refused():
    with pytest.raises(InputError, match=r"forward has shape .* backward=True\) returns both"):
        occlusion(np.zeros((2, 3, 2)), np.zeros((3, 2, 2)))
    with pytest.raises(InputError, match=r"backward is int64"):
        occlusion(np.zeros((2, 3, 2)), np.zeros((2, 3, 2), int))
