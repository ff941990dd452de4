"""Backward warping: by hand, against linear functions, OpenCV against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.flow.warp import lands_inside, warp

IMAGE = np.array([[0, 10, 20], [100, 110, 120]], np.uint8)


def test_by_hand():
    """(0, 0) + (0.5, 0) is between 0 and 10; (1, 0) + (0.25, 0.5) between 12.5 and 112.5."""
    flow = np.zeros((2, 3, 2), np.float32)
    flow[0, 0], flow[0, 1], flow[0, 2] = (0.5, 0), (0.25, 0.5), (0.25, 0)
    flow[1, 0], flow[1, 1], flow[1, 2] = (2, -1), (0, np.nan), (-2.5, 0)
    expected = [[5, 62.5, 7], [20, 7, 7]]
    np.testing.assert_array_equal(warp(IMAGE.astype(np.float32), flow, fill=7), expected)
    np.testing.assert_array_equal(warp(IMAGE, flow, fill=7), [[5, 62, 7], [20, 7, 7]])
    assert lands_inside(flow).tolist() == [[True, True, False], [True, False, False]]
    unfilled = warp(IMAGE.astype(np.float64), flow, fill=np.nan)
    np.testing.assert_array_equal(np.isnan(unfilled), ~lands_inside(flow))


sides = st.integers(1, 9)
motion = st.floats(-12, 12, width=32)


@given(sides, sides, st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]))
def test_a_linear_function_is_interpolated_exactly(height, width, seed, kind):
    """On the plane 3 x - 2 y + 1, warping is evaluation at x + flow."""
    rng = np.random.default_rng(seed)
    flow = rng.uniform(-6, 6, (height, width, 2)).astype(np.float32)
    y, x = np.mgrid[:height, :width]
    found = warp((3 * x - 2 * y + 1).astype(kind), flow)
    at = x + flow[..., 0], y + flow[..., 1]
    inside = (at[0] >= 0) & (at[0] <= width - 1) & (at[1] >= 0) & (at[1] <= height - 1)
    # Rounding of coordinates below 16 in float32.
    np.testing.assert_allclose(found, np.where(inside, 3 * at[0] - 2 * at[1] + 1, 0), atol=1e-5)
    np.testing.assert_array_equal(lands_inside(flow), inside)


@settings(max_examples=20)
@given(st.data(), sides, sides)
def test_whole_pixels_are_indexing(data, height, width):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    image = rng.integers(0, 256, (2, height, width, 4), dtype=np.uint8)
    flow = rng.integers(-4, 5, (2, height, width, 2)).astype(np.float32)
    found = warp(image, flow, fill=3)
    for n, y, x in np.ndindex(2, height, width):
        u, v = flow[n, y, x].astype(int)
        inside = 0 <= x + u < width and 0 <= y + v < height
        expected = image[n, y + v, x + u] if inside else [3] * 4
        np.testing.assert_array_equal(found[n, y, x], expected)


def test_without_opencv_the_result_is_the_same(rng, monkeypatch):
    image, flow = rng.random((30, 40, 3), np.float32), rng.normal(0, 5, (30, 40, 2))
    found = warp(image, flow)
    monkeypatch.setattr("engine.images.sampling.opencv_sampler", lambda: None)
    np.testing.assert_allclose(warp(image, flow), found, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "flow", "message"),
    [
        (IMAGE, np.zeros((2, 3)), r"flow is float64 \(2, 3\); expected floats \(H, W, 2\)"),
        (IMAGE, np.zeros((2, 3, 2), int), r"flow is int64 .* engine\.infer"),
        (IMAGE, np.zeros((0, 3, 2)), r"flow is empty"),
        (IMAGE, np.ma.masked_all((2, 3, 2)), r"masked values"),
        (IMAGE, np.zeros((3, 2, 2)), r"image has shape \(2, 3\) and flow \(3, 2, 2\); .* \(3, 2\)"),
        (IMAGE, np.zeros((1, 2, 3, 2)), r"expected \(1, 2, 3\) or \(1, 2, 3, 'C'\)"),
        (IMAGE.astype(int), np.zeros((2, 3, 2)), r"type int64; expected uint8, uint16 or floats"),
    ],
)
def test_refused(image, flow, message):
    with pytest.raises(InputError, match=message):
        warp(image, flow)


@pytest.mark.parametrize("fill", [256, -1, np.nan, 0.5, "x"])
def test_a_fill_that_the_type_does_not_hold(fill):
    with pytest.raises(InputError, match=r"fill is .*; expected a number that uint8 holds"):
        warp(IMAGE, np.zeros((2, 3, 2)), fill=fill)
