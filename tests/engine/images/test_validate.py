"""What ``checked_image`` accepts and refuses."""

import io
import re
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import InputError
from engine.images import check_same_kind, checked_image, network_input


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a.png", r"image1 is a path \('a\.png'\); expected an array .*read_image"),
        (Path("a.png"), r"image1 is a path \('a\.png'\)"),
        (
            b"\x89PNG" * 9,
            r"image1 is 36 bytes; .*\.image_from_bytes\(image1, 'name'\)",
        ),
        (bytearray(9), r"image1 is 9 bytes; expected an array"),
        (memoryview(bytes(9)), r"image1 is 9 bytes; expected an array"),
        ("a" * 10**6, r"image1 is a path \('a{59}\);"),
        (None, r"image1 is None; expected an array .* OpenCV returns None for a picture"),
        ((True, np.zeros((8, 8, 3))), r"image1 is a tuple of 2; .* e\.g\. image1\[1\]; VideoCapt"),
        (cv2.VideoCapture(), r"image1 is a VideoCapture; .* ok, frame = image1\.read\(\)\."),
        (io.BytesIO(), r"image1 is an open file or a reader \(BytesIO\); .*read_image\(path\)"),
        (3, r"image1 is int; expected an array \(H, W, 3\)\. Pass its pixels\."),
        ([[1]], r"image1 is list; expected an array .* numpy\.asarray"),
        (np.zeros((8, 8, 3), np.int64), r"has type int64; expected uint8 .*astype"),
        (np.zeros((8, 8, 3), bool), r"has type bool; expected uint8 .* \* numpy\.uint8\(255\)"),
        (np.zeros((8, 8, 3), np.longdouble), r"type (float128|float96|longdouble); .*'float64'"),
        (np.zeros((8, 8, 3), object), r"has type object; .* one of these types"),
        (np.zeros(8, np.uint8), r"has shape \(8,\); expected .* one batch"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), r"has shape \(1, 1, 8, 8, 3\); expected"),
        (
            np.zeros((5, 8, 9), np.uint8),
            r"\(5, 8, 9\); .* grey images, .* image1\[\.\.\., None\]\.",
        ),
        (np.zeros((1, 8, 9), np.uint8), r"\(1, 8, 9\); .* first axis out: image1\[0\]\."),
        (np.zeros((8, 8, 2), np.uint8), r"\(8, 8, 2\); .* Leave alpha out: image1\[\.\.\., 0\]\."),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\); .* Pick three of its 4 .*\[\.\.\., :3\]"),
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\); .* numpy\.moveaxis\(image1, -3, -1\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"\(2, 3, 8, 8\); .* numpy\.moveaxis"),
        (np.zeros((0, 8, 3), np.uint8), r"image1 is empty: its shape is \(0, 8, 3\)"),
        (np.zeros((0, 8, 8, 3), np.float32), r"image1 is empty"),
        (np.zeros((8, 8, 0), np.uint8), r"image1 is empty"),
        (np.full((8, 8, 3), np.nan, np.float32), r"holds 192 values that are NaN or infinite"),
        (np.full((8, 8, 3), np.inf, np.float64), r"holds 192 values that are NaN or infinite"),
        (
            np.full((8, 8, 3), 255, np.float32),
            r"from 255\.0 to 255\.0; .*image1\.clip\(0, 255\) / 255\.",
        ),
        (np.full((8, 8, 3), 65535.0), r"to 65535\.0; .* If white is 65535, .* image1 / 65535\."),
        (
            np.linspace(-1, 1, 192).reshape(8, 8, 3),
            r"from -1\.0 to 1\.0; .*\(\(image1 \+ 1\) / 2\)\.",
        ),
        (np.linspace(-2, 2.6, 192).reshape(8, 8, 3), r"normalised, undo that: image1 \* deviation"),
        (np.full((8, 8, 3), 1.001, np.float16), r"from 1\.0009766 .* clip it"),
        (np.full((8, 8, 3), -1e-9), r"from -1e-09 to -1e-09; expected 0 to 1\. .*clip it"),
        (
            np.full((8, 8, 3), 1 + 2**-23, np.float32),
            r"from 1\.0000001 .* 255, .* image1\.clip\(0, 255\) / 255",
        ),
    ],
)
def test_refused(image, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=message):
            checked_image(image, "image1")


@pytest.mark.parametrize(
    ("full_scale", "example"),
    [
        (np.array([[[False, True, True]]]), r"it: (.*)\."),
        (np.array([[[0, 4095, 4095]]], np.uint16), r"sensor: (.*) for 12 bits"),
        (np.array([[[0, 65535, 65535]]], np.uint16), r"sensor: (.*) for 16 bits;"),
        (np.array([[[0, 1023, 1023]]], np.int32), r"sensor: (.*) for 10 bits"),
        (np.array([[[0, 16383, 16383]]], np.uint16), r"sensor: (.*) for 14 bits"),
        (np.array([[[-128, 127, 127]]], np.int8), r"shift it: (.*)\."),
        (np.array([[[-500, 70000, 70000]]]), r"of the scene: (.*)\."),
        (np.array([[[500, 60700, 60700]]], np.uint16), r"of the scene: (.*)\."),
        (np.array([[[0, 255, 255]]], np.int64), r"pass (.*)\."),
    ],
)
def test_advice_maps_the_full_scale_to_255(full_scale, example):
    with pytest.raises(InputError) as caught:
        checked_image(full_scale, "image1")
    advice = re.search(example, str(caught.value))[1]
    converted = eval(advice, {"image1": full_scale, "numpy": np})
    assert checked_image(converted, "image1").tolist() == [[[0, 255, 255]]]


def test_one_nan_among_many_is_found(rng):
    image = rng.random((32, 32, 3))
    image[7, 9, 1] = np.nan
    with pytest.raises(InputError, match="holds 1 values that are NaN"):
        checked_image(image, "image1")


class ArrayLike:
    def __init__(self, result):
        self.result = result

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_other_arrays_are_converted():
    image = np.ones((2, 3, 3), np.uint8)
    assert checked_image(ArrayLike(image), "image1") is image
    with pytest.raises(InputError, match="cannot be converted to a numpy array: on a GPU"):
        checked_image(ArrayLike(TypeError("on a GPU")), "image1")


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        (np.linspace(-1, 1, 12).reshape(2, 2, 3), lambda image: (image + 1) / 2),
        (np.linspace(0, 255, 12).reshape(2, 2, 3), lambda image: image / 255),
        (np.linspace(-0.5, 0.5, 12).reshape(2, 2, 3), lambda image: image + 0.5),
        (np.linspace(0, 1023, 12).reshape(2, 2, 3), lambda image: image / 1023),
        (np.linspace(0, 4095, 12).reshape(2, 2, 3), lambda image: image / 4095),
        (np.linspace(0, 65535, 12).reshape(2, 2, 3), lambda image: image / 65535),
        (np.linspace(-1000, 1e6, 12).reshape(2, 2, 3), lambda image: (image + 1000) / 1001000),
    ],
)
def test_advice_about_a_range_of_floats_is_right(values, truth):
    with pytest.raises(InputError) as caught:
        checked_image(values, "image1")
    last = str(caught.value).rpartition(": ")[2].removesuffix(".")
    converted = eval(last, {"image1": values})
    np.testing.assert_allclose(checked_image(converted, "image1"), truth(values), rtol=1e-12)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (5, 7, 1), (2, 5, 7, 1)])
def test_grey_is_three_equal_channels(rng, kind, shape):
    grey = (
        rng.random(shape).astype(kind) if kind == np.float32 else rng.integers(0, 256, shape, kind)
    )
    repeated = np.repeat(grey if grey.ndim > 2 else grey[..., None], 3, axis=-1)
    found = checked_image(grey, "image1")
    np.testing.assert_array_equal(found, repeated)
    size = tuple(8 * -(-side // 8) for side in repeated.shape[-3:-1])
    for bgr in (False, True):
        np.testing.assert_array_equal(
            network_input(found, size, bgr=bgr), network_input(repeated, size)
        )


def test_masked_pixels_are_refused(rng):
    array = np.ma.masked_array(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), mask=False)
    np.testing.assert_array_equal(checked_image(array, "image1"), array.data)
    array[1, 2] = np.ma.masked
    with pytest.raises(InputError, match=r"has masked pixels.*filled"):
        checked_image(array, "image1")


def test_pairs_have_one_shape_and_kind():
    image = np.zeros((384, 512, 3), np.uint8)
    with pytest.raises(InputError, match=r"a has shape \(384, 512, 3\) and b \(384, 500, 3\)"):
        check_same_kind(image, image[:, :500], ("a", "b"))
    with pytest.raises(InputError, match=r"a has shape \(384, 512, 3\) and b \(1, 384, 512, 3\)"):
        check_same_kind(image, image[None], ("a", "b"))
    with pytest.raises(InputError, match="a has type uint8 and b float32"):
        check_same_kind(image, image.astype(np.float32), ("a", "b"))
    check_same_kind(image, image, ("a", "b"))
