"""Alignment of an image: OpenCV and NumPy agree, whole pixels stay, the outside fades."""

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.flow.affine import IDENTITY, translation
from engine.images.alignment import aligned, warped_by_numpy
from engine.images.sampling import interpolated


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (2, 90, 150, 3), dtype=np.uint8)


def rotation(angle, zoom, x, y):
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, (x, y)])


@settings(max_examples=30)
@given(
    st.floats(-3.2, 3.2),
    st.floats(0.4, 2.5),
    st.floats(-40, 40),
    st.floats(-40, 40),
    st.sampled_from([(1, 1), (1, 40), (67, 130), (90, 150)]),
)
def test_opencv_and_numpy_agree_to_one_level(angle, zoom, x, y, size):
    """On noise, where a small error of the coordinates shows."""
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    motion = rotation(angle, zoom, x, y)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(
        image, motion, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    difference = warped_by_numpy(image, motion).astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_without_opencv_it_is_numpy(images, monkeypatch):
    motion = rotation(0.1, 1.05, 6, -4)
    expected = aligned(*images, motion)
    import_module = builtins.__import__

    def refuse(name, *rest):
        if name == "cv2":
            raise ImportError(name)
        return import_module(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert np.abs(aligned(*images, motion).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("x", "y"), [(0, 0), (7, -5), (-140, 80)])
def test_whole_pixels_are_copied(images, x, y):
    first, second = images
    result = aligned(first, second, translation(x, y))
    rows, columns = np.mgrid[:90, :150]
    rows, columns = rows + y, columns + x
    inside = (rows >= 0) & (rows < 90) & (columns >= 0) & (columns < 150)
    np.testing.assert_array_equal(result[inside], second[rows[inside], columns[inside]])


def test_the_outside_fades_from_the_border_into_the_first_image():
    """20 px to the left: black becomes white over 32 px; the pixel before the border has 1/32."""
    first, second = np.full((10, 100, 3), 255, np.uint8), np.zeros((10, 100, 3), np.uint8)
    (row,) = np.unique(aligned(first, second, translation(-40, 0))[..., 0], axis=0)
    assert row[40:].tolist() == [0] * 60
    distance = np.arange(40, 0, -1)
    assert row[:40].tolist() == np.rint(255 * np.minimum(distance / 32, 1)).tolist()


def test_what_is_far_outside_is_the_first_image(images):
    first, second = images
    np.testing.assert_array_equal(aligned(first, second, translation(1e6, -1e6)), first)


def test_a_motion_into_the_image_shows_nothing_of_the_first(images):
    _, second = images
    motion = np.array([[0.5, 0, 20], [0, 0.5, 20]])
    black, white = np.zeros_like(second), np.full_like(second, 255)
    np.testing.assert_array_equal(aligned(black, second, motion), aligned(white, second, motion))
    np.testing.assert_array_equal(aligned(black, second, IDENTITY), second)


def test_interpolation_is_bilinear():
    """Between 0, 8 and 16, 40: a quarter to the right, a half down."""
    image = np.array([[0, 8], [16, 40]], np.uint8)
    assert interpolated(image, np.array([0.25]), np.array([0.5])) == (0.75 * 8 + 0.25 * 24)
    assert interpolated(image, np.array([9]), np.array([-3])) == 8
    assert interpolated(image[..., np.newaxis], np.zeros((3, 4)), np.ones((3, 4))).shape == (
        3,
        4,
        1,
    )
