"""Affine motion: fits with outliers, composition, and its sum with a flow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.flow.affine import (
    IDENTITY,
    add_affine,
    affine_motion,
    are_inside,
    composed,
    fit_affine,
    inverse,
    moved_points,
    translation,
)

# x grows by a tenth, y shrinks by a twentieth, a little shear, and a translation.
MOTION = np.array([[1.1, 0.02, -7], [-0.03, 0.95, 12]])


def test_a_point_is_moved():
    """1.1 * 10 + 0.02 * 50 - 7 = 5; -0.03 * 10 + 0.95 * 50 + 12 = 59.2."""
    np.testing.assert_allclose(moved_points(MOTION, np.array([[10.0, 50.0]])), [[5, 59.2]])


numbers = st.floats(-1, 1)


@given(st.lists(numbers, min_size=6, max_size=6), st.lists(numbers, min_size=6, max_size=6))
def test_composition_is_one_motion_after_the_other(one, other):
    earlier, later = (np.reshape(m, (2, 3)) * 0.5 + IDENTITY for m in (one, other))
    points = np.array([[0.0, 0.0], [7.0, -3.0], [100.0, 60.0]])
    np.testing.assert_allclose(
        moved_points(composed(later, earlier), points),
        moved_points(later, moved_points(earlier, points)),
        atol=1e-9,
    )


def test_the_inverse_leads_back():
    np.testing.assert_allclose(composed(inverse(MOTION), MOTION), IDENTITY, atol=1e-12)


def test_a_fit_finds_what_most_points_share(rng):
    """40 % of the points move elsewhere, half of those together."""
    points = rng.uniform(0, 500, (400, 2))
    moved = moved_points(MOTION, points)
    moved[:80] += (25, -10)
    moved[80:160] += rng.uniform(-60, 60, (80, 2))
    np.testing.assert_allclose(fit_affine(points, moved), MOTION, atol=1e-3)


def test_noise_is_averaged(rng):
    """With 0.3 px of noise on 2000 points, the centre is known to about 0.3 / sqrt(2000) px."""
    points = rng.uniform(0, 500, (2000, 2))
    found = fit_affine(points, moved_points(MOTION, points) + rng.normal(0, 0.3, (2000, 2)))
    centre = np.array([[250.0, 250.0]])
    error = moved_points(found, centre) - moved_points(MOTION, centre)
    assert np.abs(error).max() < 5 * 0.3 / 2000**0.5


def test_points_that_are_not_finite_are_left_out(rng):
    points = rng.uniform(0, 500, (60, 2))
    moved = moved_points(MOTION, points)
    moved[::3] = np.nan
    moved[1] = np.inf
    np.testing.assert_allclose(fit_affine(points, moved), MOTION, atol=1e-6)
    np.testing.assert_array_equal(fit_affine(points[:3], moved[:3]), IDENTITY)


def test_a_flow_of_any_step_has_its_motion():
    height, width = 40, 60
    y, x = np.mgrid[:height, :width]
    points = np.stack([x, y], axis=-1)
    flow = (points @ MOTION[:, :2].T + MOTION[:, 2] - points).astype(np.float32)
    flow[:9] = np.nan
    for step in (1, 4):
        np.testing.assert_allclose(affine_motion(flow, step=step), MOTION, atol=1e-4)


def test_the_sum_with_a_flow():
    """The point p is at p + f in the aligned image, so at A (p + f) in the second."""
    rng = np.random.default_rng(3)
    flow = rng.normal(0, 5, (70, 90, 2)).astype(np.float32)
    y, x = np.mgrid[:70, :90]
    points = np.stack([x, y], axis=-1).astype(np.float64)
    expected = (points + flow) @ MOTION[:, :2].T + MOTION[:, 2] - points
    add_affine(flow, MOTION)
    np.testing.assert_allclose(flow, expected, atol=1e-4)


def test_a_translation_is_only_added():
    flow = np.random.default_rng(3).normal(0, 5, (5, 6, 2)).astype(np.float32)
    expected = flow + np.float32([3, -4])
    add_affine(flow, translation(3, -4))
    np.testing.assert_array_equal(flow, expected)


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [(0, 0, True), (59, 39, True), (59.1, 0, False), (0, -0.1, False), (np.nan, 0, False)],
)
def test_inside_is_between_the_pixels(x, y, inside):
    assert are_inside(np.array([[x, y]]), 40, 60).tolist() == [inside]
