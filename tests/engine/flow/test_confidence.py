"""Confidence: by hand, monotone, and a rank of real errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.flow.confidence import confidence

NO_FLOW = np.zeros((5, 6, 2), np.float32)


def test_without_contrast_by_hand():
    """Flat images that differ by 12 levels: 12 / 4 levels per pixel are 3 px, 1 / (1 + 9)."""
    first, second = np.full((5, 6, 3), 100, np.uint8), np.full((5, 6, 3), 112, np.uint8)
    np.testing.assert_allclose(confidence(first, second, NO_FLOW), 0.1, rtol=1e-6)
    np.testing.assert_allclose(confidence(first / 255, second / 255, NO_FLOW), 0.1, rtol=1e-5)
    assert (confidence(first, first, NO_FLOW) == 1).all()


def test_a_ramp_is_off_by_its_shift():
    """8 levels per pixel, moved by 3 px, without flow: 24 / (8 + 4) is 2 px, 1 / (1 + 4)."""
    columns = np.arange(24, dtype=np.uint8) * 8
    first, second = (np.tile(columns + offset, (24, 1)) for offset in (0, 24))
    found = confidence(first, second, np.zeros((24, 24, 2)))
    # Farther from the border than the window, where the gradient is halved.
    np.testing.assert_allclose(found[:, 10:-10], 0.2, rtol=1e-5)


def test_the_way_back_by_hand():
    """The flow back misses by (1, 2) px: 1 / (1 + 5)."""
    image = np.zeros((2, 4, 9, 3), np.uint8)
    forward, backward = np.zeros((2, 2, 4, 9, 2))
    forward[0, ..., 0], backward[0] = 3, (-2, 2)
    found = confidence(image, image, forward, backward)
    np.testing.assert_allclose(found[0, :, :6], 1 / 6, rtol=1e-6)
    assert (found[0, :, 6:] == 0).all()  # leaves the image
    assert (found[1] == 1).all()


def test_unknown_flow_has_none():
    image = np.zeros((5, 6), np.uint8)
    forward, backward = NO_FLOW.copy(), NO_FLOW.copy()
    forward[1, 2] = np.nan
    found = confidence(image, image, forward, backward)
    assert np.argwhere(found == 0).tolist() == [[1, 2]]
    backward[:] = 1e30
    assert not confidence(image, image, forward, backward).any()
    nowhere = np.full_like(NO_FLOW, 99)
    assert not confidence(image, image, nowhere).any()


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 9), st.floats(0, 9))
def test_it_falls_with_either_distance(level1, level2, miss1, miss2):
    black = np.zeros((5, 6), np.uint8)

    def at(level, miss):
        back = np.full_like(NO_FLOW, miss)
        found = confidence(black, np.full_like(black, level), NO_FLOW, back)
        assert ((found > 0) & (found <= 1)).all()
        return found[2, 3]

    assert (at(level1, miss1) >= at(level2, miss1)) == (level1 <= level2) or level1 == level2
    low, high = sorted((miss1, miss2))
    assert at(level1, low) >= at(level1, high)


def test_errors_are_ranked(rng):
    """A pair of noise whose flow is wrong in one half: there the confidence is lower."""
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    forward, backward = np.zeros((2, 40, 60, 2))
    forward[:, 30:], backward[:, 30:] = (2, 1), (-1, 0)
    for back in (None, backward):
        found = confidence(image, image, forward, back)
        assert found[:, 40:].max() < found[:, :20].min()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((5, 6, 4), np.uint8), np.zeros((5, 6), np.uint8), NO_FLOW), "image1 has shape"),
        ((np.zeros((5, 6)), np.zeros((5, 7)), NO_FLOW), "expected the same shape"),
        ((np.zeros((5, 7)), np.zeros((5, 7)), NO_FLOW), r"image has shape \(5, 7, 3\) and flow"),
        ((np.zeros((5, 6)), np.zeros((5, 6)), NO_FLOW, NO_FLOW[1:]), r"backward \(4, 6, 2\)"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        confidence(*arguments)
