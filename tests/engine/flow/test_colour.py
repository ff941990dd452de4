import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import InputError
from engine.flow.colour import color_wheel_legend, flow_to_color

# The wheel's corners and how many steps lead from each to the next: Baker et al., IJCV 2011,
# figure 3 and colorcode.cpp of the flow code. The entries between are worked out below by hand.
CORNERS = {
    0: (255, 0, 0), 15: (255, 255, 0), 21: (0, 255, 0),
    25: (0, 255, 255), 36: (0, 0, 255), 49: (255, 0, 255),
}  # fmt: skip
SEGMENT_ENDS = {
    14: (255, 238, 0),  # 255 * 14 // 15
    20: (43, 255, 0),  # 255 - 255 * 5 // 6
    24: (0, 255, 191),  # 255 * 3 // 4
    35: (0, 24, 255),  # 255 - 255 * 10 // 11
    48: (235, 0, 255),  # 255 * 12 // 13
    54: (255, 0, 43),  # 255 - 255 * 5 // 6
}


def direction(entry: float) -> tuple[float, float]:
    """Return the unit flow at an entry of the wheel: 0 is right, 54 is once around, clockwise."""
    angle = 2 * math.pi * entry / 54
    return math.cos(angle), math.sin(angle)


def color_of(u: float, v: float, **scale: float) -> tuple[int, ...]:
    picture = flow_to_color(np.array([[[u, v]]], np.float64), **scale)
    return tuple(int(value) for value in picture[0, 0])


def scalar_color(u: float, v: float, scale: float) -> list[float]:
    """One pixel in plain arithmetic, after the description in the paper; not rounded."""
    ramps = (
        (15, lambda t: (255, t, 0)),
        (6, lambda t: (255 - t, 255, 0)),
        (4, lambda t: (0, 255, t)),
        (11, lambda t: (0, 255 - t, 255)),
        (13, lambda t: (t, 0, 255)),
        (6, lambda t: (255, 0, 255 - t)),
    )
    wheel = [rgb(255 * step // steps) for steps, rgb in ramps for step in range(steps)]
    radius = math.hypot(u, v) / scale
    position = (math.atan2(-v, -u) / math.pi + 1) / 2 * 54
    low = int(position)
    color = []
    for before, after in zip(wheel[low], wheel[(low + 1) % 55], strict=True):
        hue = (before + (position - low) * (after - before)) / 255
        color.append(255 * (1 - radius * (1 - hue) if radius <= 1 else 0.75 * hue))
    return color


@pytest.mark.parametrize(("entry", "rgb"), (CORNERS | SEGMENT_ENDS).items())
def test_wheel_entries(entry, rgb):
    # A hair before the seam of the circle for the last entry: exactly there begins entry 0.
    color = color_of(*direction(entry - 1e-4 if entry == 54 else entry), max_magnitude=1)
    assert max(abs(a - b) for a, b in zip(color, rgb, strict=True)) <= 1


def test_axes():
    assert color_of(1, 0) == (255, 0, 0)
    down, left, up = color_of(0, 1), color_of(-1, 0), color_of(0, -1)
    assert down == (255, 229, 0)  # entry 13.5: between 221 and 238
    assert left == (0, 209, 255)  # entry 27: 255 - 255 * 2 // 11
    assert up == (88, 0, 255)  # entry 40.5: between 78 and 98


def test_both_zeros_are_one_direction():
    assert color_of(1, -0.0) == color_of(1, 0.0)


def test_no_motion_is_white_and_half_the_scale_is_half_way_to_it():
    assert color_of(0, 0) == (255, 255, 255)
    assert color_of(2, 0, max_magnitude=4) == (255, 127, 127)


def test_noise_of_a_still_scene_stays_pale():
    """By default magnitudes below 1 px have no full colour."""
    assert color_of(0.1, 0) == color_of(0.1, 0, max_magnitude=1) == (255, 229, 229)
    assert color_of(0.1, 0, max_magnitude=0.1) == (255, 0, 0)


def test_beyond_a_fixed_scale_the_hue_is_darkened():
    assert color_of(9, 0, max_magnitude=4) == (191, 0, 0)
    assert color_of(4, 0, max_magnitude=4) == (255, 0, 0)


def test_by_default_the_longest_known_flow_has_the_pure_hue():
    flow = np.array([[[3, 4], [0, 5], [1e10, 0], [0, 0]]], np.float32)
    picture = flow_to_color(flow)
    np.testing.assert_array_equal(picture, flow_to_color(flow, max_magnitude=5))
    assert picture[0, 0].min() == 0
    assert picture[0, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf, 1e10, -1.1e9])
@pytest.mark.parametrize("axis", [0, 1])
def test_unknown_flow_is_black(unknown, axis):
    flow = np.ones((2, 2, 2), np.float32)
    flow[1, 0, axis] = unknown
    picture = flow_to_color(flow)
    assert picture[1, 0].tolist() == [0, 0, 0]
    assert (picture.sum(axis=-1) == 0).sum() == 1
    assert not flow_to_color(np.full_like(flow, unknown)).any()


@given(
    flow=hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-300, 300, width=16)),
    scale=st.floats(0.1, 400),
)
def test_agrees_with_the_scalar_form(flow, scale):
    picture = flow_to_color(flow, max_magnitude=scale)
    assert picture.dtype == np.uint8
    lengths = np.hypot(flow[..., 0], flow[..., 1])
    for y, x in np.ndindex(3, 4):
        u, v = (float(value) for value in flow[y, x] + 0.0)
        on_the_rim = abs(lengths[y, x] / scale - 1) < 1e-5  # either side is right
        on_the_seam = u > 0 and -1e-4 * u < v < 0
        if not (on_the_rim or on_the_seam):
            expected = np.array(scalar_color(u, v, scale))
            assert np.abs(picture[y, x] + 0.5 - expected).max() <= 0.6


def test_pictures_have_the_hue_order_of_opencv():
    angles = np.linspace(0.05, 2 * np.pi - 0.05, 200)
    flow = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None]
    hue = cv2.cvtColor(flow_to_color(flow), cv2.COLOR_RGB2HSV_FULL)[0, :, 0].astype(int)
    assert (np.diff(hue) >= 0).all()


def test_empty_flow_and_other_floats():
    assert flow_to_color(np.zeros((0, 5, 2), np.float32)).shape == (0, 5, 3)
    np.testing.assert_array_equal(
        flow_to_color(np.ones((1, 1, 2), np.float16)), flow_to_color(np.ones((1, 1, 2), np.float64))
    )


@pytest.mark.parametrize(
    "flow", [np.zeros((2, 4, 5)), np.zeros((1, 4, 5, 2)), np.zeros((4, 5, 2), np.uint8), "a.flo"]
)
def test_only_one_float_flow_is_coloured(flow):
    with pytest.raises(InputError, match=r"expected floats \(H, W, 2\)"):
        flow_to_color(flow)


def test_masked_flow_is_not_coloured_as_if_it_were_known():
    flow = np.ma.masked_equal(np.ones((4, 5, 2)), 1)
    with pytest.raises(InputError, match="flow has masked values"):
        flow_to_color(flow)


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf])
def test_the_scale_is_a_positive_number(scale):
    with pytest.raises(InputError, match="expected a positive number of pixels"):
        flow_to_color(np.zeros((1, 1, 2)), max_magnitude=scale)


def test_the_legend_is_the_colour_of_the_flow_to_each_pixel():
    legend = color_wheel_legend(101)
    assert legend.shape == (101, 101, 3)
    assert legend[0, 0].tolist() == [255, 255, 255]
    assert legend[50, 50].tolist() == [255, 255, 255]
    offsets = np.array([[[40, 0], [0, 40], [-30, 20]]], np.float32)
    expected = flow_to_color(offsets, max_magnitude=50.5)[0]
    np.testing.assert_allclose(legend[[50, 90, 70], [90, 50, 20]], expected, atol=1)


def test_the_legend_needs_a_size():
    with pytest.raises(InputError, match="size is 0"):
        color_wheel_legend(0)
    assert color_wheel_legend(1).shape == (1, 1, 3)
