"""The search finds what the flow has missed, by differences that are checked by hand; not more."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import refinement
from engine.refinement import patches, plain
from engine.refinement.patches import MARGIN, SIDE, STRIDE


def grey_pyramid(image):
    levels = [image.astype(np.float32)]
    while len(levels) < plain.RESOLUTIONS:
        levels.append(plain._halved(levels[-1]))
    return levels


def texture(rng, height, width, blur=1.5):
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), blur)
    return (128 + 40 * noise / noise.std()).clip(0, 255)


def square_that_moves(rng, motion):
    """Return a pair where a square of 40x40 pixels moves before a background that does not."""
    first = texture(rng, 128, 160, blur=2.5)
    second = first.copy()
    x, y = motion
    inside = first[40:80, 60:100].copy()
    second[40:80, 60:100] = texture(rng, 40, 40, blur=2.5)
    second[40 + y : 80 + y, 60 + x : 100 + x] = inside
    return first.round(), second.round()


def in_colour(image):
    return np.repeat(image[..., np.newaxis], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("motion", [(6, -4), (-8, 5), (2, 0)])
def test_a_motion_that_the_flow_has_missed_is_found(rng, motion):
    first, second = square_that_moves(rng, motion)
    still = np.zeros((2, *first.shape), np.float32)
    found = patches.changes(grey_pyramid(first), grey_pyramid(second), still)
    middle = found[:, 50:70, 70:90]
    assert np.abs(middle - np.array(motion)[:, None, None]).max() < 0.3
    assert np.abs(found[:, :24]).max() == 0  # far from it the flow is right, and stays
    flow = still.transpose(1, 2, 0).copy()
    refined = refinement.refined(in_colour(first), in_colour(second), flow, threads=2)
    assert np.abs(refined[50:70, 70:90] - motion).max() < 0.3


@pytest.mark.parametrize("start", [(0.4, -0.3), (1.5, 1.0)])
def test_descent_reaches_the_least_difference(rng, start):
    """Of a smooth image and its shift by parts of a pixel."""
    motion = np.array((0.6, 0.2))
    large = texture(rng, 96, 96, blur=3)
    shifted = cv2.warpAffine(large, np.float64([[1, 0, motion[0]], [0, 1, motion[1]]]), (96, 96))
    flow = np.empty((2, 64, 64), np.float32)
    flow[:] = np.float32(motion + start)[:, None, None]
    inside = slice(16, 80)
    described = patches._described(
        *(image[inside, inside].astype(np.float32) for image in (large, shifted))
    )
    search = patches._begun(described, flow, 1, None)
    search.best.x[:], search.best.y[:] = (motion + start)[:, None, None]
    places = patches._all_places(*search.searched.shape)
    search.best = patches._matched(described, places, search.best.x, search.best.y)
    for _ in range(3):
        search.settled[:] = False
        patches._descend(search, places)
    error = np.hypot(search.best.x - motion[0], search.best.y - motion[1])
    assert np.median(error) < 0.1  # the shortest step


@settings(max_examples=30, deadline=None)
@given(
    row=st.integers(0, 8),
    column=st.integers(0, 10),
    x=st.floats(-60, 60),
    y=st.floats(-60, 60),
    seed=st.integers(0, 5),
)
@example(row=0, column=0, x=-8.0, y=-8.0, seed=0)
@example(row=8, column=10, x=200.0, y=200.0, seed=0)
def test_differences_are_those_of_opencv(row, column, x, y, seed):
    """In float64, of the second image moved by OpenCV, less their mean."""
    rng = np.random.default_rng(seed)
    first, second = (rng.uniform(0, 255, (40, 48)).astype(np.float32) for _ in range(2))
    described = patches._described(first, second)
    place = np.array([row]), np.array([column])
    motion = (np.array([value], np.float32) for value in (x, y))
    found = patches._matched(described, place, *motion)
    top, left = STRIDE * row, STRIDE * column
    to_y = np.clip(top + np.float32(y), -SIDE, 40) + np.arange(SIDE)
    to_x = np.clip(left + np.float32(x), -SIDE, 48) + np.arange(SIDE)
    moved = bilinear(second.astype(float), to_y, to_x)
    padded = np.pad(first.astype(float), MARGIN, mode="edge")
    own = slice(top + MARGIN, top + MARGIN + SIDE), slice(left + MARGIN, left + MARGIN + SIDE)
    difference = moved - padded[own]
    difference -= difference.mean()
    along_y, along_x = (2 * gradient[own] for gradient in np.gradient(padded))
    assert found.squared[0] == pytest.approx((difference**2).sum(), rel=1e-3)
    scale = np.abs(difference).sum() * 100
    assert found.along_x[0] == pytest.approx((difference * along_x).sum(), abs=1e-4 * scale)
    assert found.along_y[0] == pytest.approx((difference * along_y).sum(), abs=1e-4 * scale)


def bilinear(image, rows, columns):
    """At all pairs of rows and columns; beyond the border it is repeated."""
    for axis, places in ((0, rows), (1, columns)):
        last = image.shape[axis] - 1
        lower = np.floor(places).astype(int)
        share = np.expand_dims(places - lower, 1 - axis)
        near, far = (image.take(np.clip(index, 0, last), axis=axis) for index in (lower, lower + 1))
        image = near + share * (far - near)
    return image


@pytest.mark.parametrize("size", [(5, 9), (32, 40), (61, 83)])
def test_changes_are_interpolated_as_by_opencv(size, rng):
    height, width = size
    values = rng.normal(size=(2, -(-height // 4), -(-width // 4))).astype(np.float32)
    finer = [
        cv2.resize(plane, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR) for plane in values
    ]
    expected = np.stack(finer)[:, :height, :width]
    np.testing.assert_allclose(patches._interpolated(values, height, width), expected, atol=1e-5)


def unchanged(first, second, flow=None):
    flow = np.zeros((2, *first.shape), np.float32) if flow is None else flow
    return not patches.changes(grey_pyramid(first), grey_pyramid(second), flow).any()


def test_where_nothing_is_to_be_seen_the_flow_stays(rng):
    flat = np.full((60, 80), 200.0)
    assert unchanged(flat, flat, rng.normal(0, 9, (2, 60, 80)).astype(np.float32))
    assert unchanged(flat, flat + 40)  # a change of brightness is none of the flow


def test_a_right_flow_stays(rng):
    image = texture(rng, 90, 120)
    assert unchanged(image, image)


def test_along_stripes_the_flow_stays(rng):
    """Where gradients have one direction only, another stripe may fit as well."""
    stripes = np.broadcast_to(128 + 100 * np.sin(np.arange(120) * 2 * np.pi / 9), (90, 120))
    moved = np.broadcast_to(128 + 100 * np.sin((np.arange(120) - 4) * 2 * np.pi / 9), (90, 120))
    assert unchanged(stripes, moved)


def test_noise_matches_nothing(rng):
    """Some patch may; its neighbours do not move alike."""
    first, second = (texture(rng, 90, 120, blur=0.8) for _ in range(2))
    found = patches.changes(*map(grey_pyramid, (first, second)), np.zeros((2, 90, 120), np.float32))
    assert (found != 0).mean() < 0.05


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_flow_that_is_not_a_number_is_not_spread(rng, value):
    first, second = square_that_moves(rng, (6, -4))
    flow = np.zeros((2, *first.shape), np.float32)
    flow[:, 100:, :] = value
    found = patches.changes(grey_pyramid(first), grey_pyramid(second), flow)
    assert np.isfinite(found).all()
    assert np.abs(found[:, 50:70, 70:90] - np.array((6, -4))[:, None, None]).max() < 0.3
