"""Cuts, on frames whose flow is known."""

import numpy as np
import pytest

from engine.video.cuts import colour_change, is_cut, warped_correlation


@pytest.fixture
def scenes(rng):
    """Two textures of other colours, (64, 96, 3)."""
    coarse = rng.integers(0, 120, (2, 8, 12, 3)).repeat(8, 1).repeat(8, 2)
    coarse[1] += 130
    return coarse.astype(np.uint8)


def still(image):
    return np.zeros((*image.shape[:2], 2), np.float32)


def test_another_scene(scenes):
    one, two = scenes
    assert is_cut(one, two, still(one))
    assert abs(warped_correlation(one, two, still(one))) < 0.3
    assert colour_change(one, two) == pytest.approx(1)


def test_motion_that_the_flow_explains(scenes):
    """The scene moves 16 px to the right, and grey comes in on the left."""
    one, _ = scenes
    moved = np.full_like(one, 40)
    moved[:, 16:] = one[:, :-16]
    flow = still(one) + np.float32([16, 0])
    assert warped_correlation(one, moved, flow) == pytest.approx(1)
    assert not is_cut(one, moved, flow)


def test_a_flash_is_no_cut(scenes):
    """All levels become 1.5 times as large, plus 60: other colours, the same structure."""
    one, _ = scenes
    bright = (one * 1.5 + 60).astype(np.uint8)
    assert colour_change(one, bright) > 0.9
    assert not is_cut(one, bright, still(one))


def test_motion_that_the_flow_misses_is_no_cut(scenes):
    """The same colours elsewhere."""
    one, _ = scenes
    moved = np.roll(one, (8, 40), axis=(0, 1))
    assert warped_correlation(one, moved, still(one)) < 0.5
    assert colour_change(one, moved) == 0
    assert not is_cut(one, moved, still(one))


def test_flat_frames():
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert is_cut(black, white, still(black))
    assert not is_cut(black, black, still(black))


def test_flow_that_leaves_the_frame(scenes):
    one, two = scenes
    away = still(one) + np.float32([1000, 0])
    assert warped_correlation(one, one, away) == 0
    assert is_cut(one, two, away)
