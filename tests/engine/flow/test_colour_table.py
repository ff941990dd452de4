"""The table's colours against the formula."""

import numpy as np
import pytest

from engine.flow.colour import flow_to_color
from engine.flow.colour_table import ColorTable

TABLE = ColorTable()


@pytest.mark.parametrize("scale", [0.37, 1, 25])
def test_colours_inside_the_wheel(rng, scale):
    flow = rng.uniform(-scale, scale, (70, 90, 2)).astype(np.float32)
    inside = np.hypot(flow[..., 0], flow[..., 1]) < 0.99 * scale
    exact = flow_to_color(flow, max_magnitude=scale).astype(int)
    difference = np.abs(TABLE.color(flow, scale) - exact)
    assert difference[inside].max() <= 3
    assert difference[inside].mean() < 0.5


def test_larger_flow_is_exact_and_unknown_flow_black(rng):
    flow = rng.uniform(5, 1000, (40, 50, 2)).astype(np.float32)
    flow[::2] *= -1
    flow[3, 4], flow[5, 6], flow[39, 49] = np.nan, (0, np.inf), (1e10, 0)
    np.testing.assert_array_equal(TABLE.color(flow, 1), flow_to_color(flow, max_magnitude=1))
    assert not TABLE.color(flow, 1)[3, 4].any()


def test_no_motion_is_white():
    assert TABLE.color(np.zeros((5, 5, 2), np.float32), 3).min() >= 253
