"""The table's colours against the formula."""

import numpy as np
import pytest

from engine.flow.colour import flow_to_color
from engine.flow.colour_table import ColorTable

TABLE = ColorTable()


@pytest.mark.parametrize("scale", [0.37, 1, 25])
def test_colours_to_one_level(rng, scale):
    flow = rng.uniform(-2 * scale, 2 * scale, (170, 190, 2)).astype(np.float32)
    exact = flow_to_color(flow, max_magnitude=scale).astype(int)
    difference = np.abs(TABLE.color(flow, scale) - exact)
    # Rounding decides on which side of the rim, where colours jump, a magnitude is.
    rim = np.abs(np.hypot(flow[..., 0], flow[..., 1]) / scale - 1) < 1e-5
    assert difference[~rim].max() <= 1
    assert difference.mean() < 0.1


def test_magnitudes_equal_to_the_scale_are_not_darkened():
    flow = np.array([[[4, 0], [0, 4], [-4, 0], [0, -4]]], np.float32)
    expected = flow_to_color(flow, max_magnitude=4).astype(int)
    assert np.abs(TABLE.color(flow, 4) - expected).max() <= 1


def test_larger_flow_is_darkened_and_unknown_flow_black(rng):
    flow = rng.uniform(5, 1000, (40, 50, 2)).astype(np.float32)
    flow[::2] *= -1
    flow[3, 4], flow[5, 6], flow[39, 49] = np.nan, (0, np.inf), (1e10, 0)
    colors = TABLE.color(flow, 1)
    assert np.abs(colors.astype(int) - flow_to_color(flow, max_magnitude=1)).max() <= 1
    assert colors.max() <= 191  # 3/4 of 255
    assert not colors[[3, 5, 39], [4, 6, 49]].any()


def test_no_motion_is_white():
    assert TABLE.color(np.zeros((5, 5, 2), np.float32), 3).min() >= 254
