import os
import re
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BackendNotInstalledError, InputError
from engine.images import (
    check_alike,
    checked_image,
    network_input,
    padded_size,
    read_image,
    write_image,
)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a.png", r"image1 is a path \('a\.png'\); expected an array .*read_image"),
        (Path("a.png"), r"image1 is a path \('a\.png'\)"),
        (b"a.png", r"image1 is a path"),
        (None, r"image1 is NoneType; expected an array"),
        ([[1]], r"image1 is list; expected an array .* numpy\.asarray"),
        (np.zeros((8, 8, 3), np.int64), r"has type int64; expected uint8 .*astype"),
        (np.zeros((8, 8, 3), bool), r"has type bool; expected uint8 .* \* numpy\.uint8\(255\)"),
        (np.zeros((8, 8, 3), np.longdouble), r"type (float128|float96|longdouble); .*'float64'"),
        (np.zeros((8, 8, 3), object), r"has type object; .* one of these types"),
        (np.zeros((8, 8), np.uint8), r"has shape \(8, 8\); .* numpy\.stack"),
        (np.zeros(8, np.uint8), r"has shape \(8,\); expected .* one batch"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), r"has shape \(1, 1, 8, 8, 3\); expected"),
        (np.zeros((8, 8, 1), np.uint8), r"\(8, 8, 1\); .* numpy\.repeat"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\); .* Pick three of its 4 .*\[\.\.\., :3\]"),
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\); .* numpy\.moveaxis\(image1, -3, -1\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"\(2, 3, 8, 8\); .* numpy\.moveaxis"),
        (np.zeros((0, 8, 3), np.uint8), r"image1 is empty: its shape is \(0, 8, 3\)"),
        (np.zeros((0, 8, 8, 3), np.float32), r"image1 is empty"),
        (np.zeros((8, 8, 0), np.uint8), r"image1 is empty"),
        (np.full((8, 8, 3), np.nan, np.float32), r"holds 192 values that are NaN or infinite"),
        (np.full((8, 8, 3), np.inf, np.float64), r"holds 192 values that are NaN or infinite"),
        (np.full((8, 8, 3), 255, np.float32), r"from 255\.0 to 255\.0; .*astype\('uint8'\)"),
        (np.full((8, 8, 3), 1.001, np.float16), r"from 1\.0009766 .* clip it"),
        (np.full((8, 8, 3), -1e-9), r"from -1e-09 to -1e-09; expected 0 to 1\. .*clip it"),
        (np.full((8, 8, 3), 1 + 2**-23, np.float32), r"from 1\.0000001 .* 255, .* image1 / 255"),
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
        (np.array([[[0, 4095, 4095]]], np.uint16), r"e\.g\. (.*) for 12 bits"),
        (np.array([[[0, 65535, 65535]]], np.uint16), r"or (\S* // .*) for 16;"),
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


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "L", "P", "RGBA", "CMYK"])
def test_pillow_pictures_are_rgb(rng, mode):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    array = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = pillow.fromarray(array)
    np.testing.assert_array_equal(checked_image(picture, "image1"), array)
    with pytest.raises(InputError, match=rf"mode {mode}; expected RGB.*convert"):
        checked_image(picture.convert(mode), "image1")


def test_masks_are_not_dropped(rng):
    array = np.ma.masked_array(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), mask=False)
    np.testing.assert_array_equal(checked_image(array, "image1"), array.data)
    array[1, 2] = np.ma.masked
    with pytest.raises(InputError, match=r"has masked pixels.*filled"):
        checked_image(array, "image1")


def test_pairs_must_be_alike():
    image = np.zeros((384, 512, 3), np.uint8)
    with pytest.raises(InputError, match=r"a has shape \(384, 512, 3\) and b \(384, 500, 3\)"):
        check_alike(image, image[:, :500], ("a", "b"))
    with pytest.raises(InputError, match=r"a has shape \(384, 512, 3\) and b \(1, 384, 512, 3\)"):
        check_alike(image, image[None], ("a", "b"))
    with pytest.raises(InputError, match="a has type uint8 and b float32"):
        check_alike(image, image.astype(np.float32), ("a", "b"))
    check_alike(image, image, ("a", "b"))


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 8, 64]))
def test_padded_size_is_the_next_multiple(height, width, divisor):
    for size, padded in zip((height, width), padded_size(height, width, divisor), strict=True):
        assert padded % divisor == 0
        assert size <= padded < size + divisor


@given(
    batch=st.sampled_from([None, 1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    divisor=st.sampled_from([1, 8, 16]),
    bgr=st.booleans(),
    kind=st.sampled_from([np.uint8, np.float16, np.float32, np.float64, ">f4"]),
    view=st.sampled_from(["contiguous", "flipped", "channels first", "sliced"]),
)
def test_layout_equals_numpy_pad(batch, height, width, divisor, bgr, kind, view):
    rng = np.random.default_rng(height * 41 + width)
    shape = (height, width, 3) if batch is None else (batch, height, width, 3)
    levels = rng.integers(0, 256, shape, dtype=np.uint8)
    levels = {
        "contiguous": lambda: levels,
        "flipped": lambda: levels[..., ::-1, ::-1],
        "channels first": lambda: np.moveaxis(np.moveaxis(levels, -1, -3).copy(), -3, -1),
        "sliced": lambda: levels.repeat(2, axis=-2)[..., ::2, :],
    }[view]()
    image = levels if kind is np.uint8 else (levels / 255).astype(kind)
    size = padded_size(height, width, divisor)

    laid_out = network_input(checked_image(image, "image"), size, bgr=bgr)

    expected = levels.reshape(-1, height, width, 3)[..., :: -1 if bgr else 1]
    rows, columns = size[0] - height, size[1] - width
    expected = np.pad(expected, [(0, 0), (0, rows), (0, columns), (0, 0)], mode="edge")
    np.testing.assert_array_equal(laid_out, expected)
    assert laid_out.flags.c_contiguous
    assert laid_out.dtype == np.uint8


def test_floats_are_rounded_to_the_nearest_level():
    image = np.array([0, 0.4 / 255, 0.6 / 255, 127.4 / 255, 254.6 / 255, 1.0]).reshape(1, 2, 3)
    assert network_input(image, (1, 2)).ravel().tolist() == [0, 0, 1, 127, 255, 255]


def test_what_fits_is_not_copied(rng):
    image = rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)
    assert np.shares_memory(network_input(image, (64, 128)), image)
    batch = rng.integers(0, 256, (2, 64, 128, 3), dtype=np.uint8)
    assert network_input(batch, (64, 128)) is batch
    assert not np.shares_memory(network_input(image, (64, 128), copy=True), image)


def test_pictures_keep_their_colors(tmp_path, rng):
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    write_image(tmp_path / "red.ppm", np.full((1, 1, 3), (255, 0, 0), np.uint8))
    assert (tmp_path / "red.ppm").read_bytes().endswith(b"\xff\x00\x00")


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_sixteen_bits_become_eight(tmp_path, shape):
    levels = np.zeros(shape, np.uint16)
    levels[0], levels[1, 0] = 65535, 257
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    image = read_image(tmp_path / "a.png")
    assert image[..., 0].tolist() == [[255, 255, 255], [1, 0, 0]]


def test_levels_without_a_white_are_refused(tmp_path):
    """12 bits in a file of 16 would become 0 to 15, floats up to 1 black."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3, 3), 4095, np.uint16))
    with pytest.raises(InputError, match=r"a\.png has uint16 levels up to 4095; .*\(x >> 4\) for"):
        read_image(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.pfm"), np.ones((2, 3, 3), np.float32))
    with pytest.raises(InputError, match=r"a\.pfm has float32 levels up to 1\.0; expected 8 bits"):
        read_image(tmp_path / "a.pfm")


def test_unreadable_pictures(tmp_path):
    with pytest.raises(InputError, match=r"missing\.png does not exist; expected a picture"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"text\.png is not a picture OpenCV can read"):
        read_image(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty\.png is not a picture OpenCV can read"):
        read_image(tmp_path / "empty.png")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_not_utf8(tmp_path, rng):
    path = tmp_path / os.fsdecode(b"bad\xff.png")
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(path, image)
    np.testing.assert_array_equal(read_image(path), image)


def test_a_failed_write_names_the_target(tmp_path):
    (tmp_path / "file").touch()
    for name, kind in (("missing/a.png", FileNotFoundError), ("file/a.png", NotADirectoryError)):
        with pytest.raises(kind) as caught:
            write_image(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
        assert caught.value.filename == str(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_image(tmp_path / "folder.png", np.zeros((2, 2, 3), np.uint8))
    assert str(caught.value).endswith(f": {str(tmp_path / 'folder.png')!r}")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png"}


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 5, 3), float), ((4, 5), np.uint8), ((4, 5, 4), np.uint8)]
)
def test_what_is_no_picture_is_not_written(tmp_path, shape, dtype):
    with pytest.raises(InputError, match=r"the image is \(4, 5.*; expected \(H, W, 3\) uint8"):
        write_image(tmp_path / "a.png", np.zeros(shape, dtype))
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large_for_its_format(tmp_path):
    # JPEG's sides have 16 bits.
    with pytest.raises(
        InputError, match=r"2x70000 cannot be written as '\.jpg'; expected a smaller"
    ):
        write_image(tmp_path / "a.jpg", np.zeros((2, 70_000, 3), np.uint8))


def test_unknown_picture_format(tmp_path):
    with pytest.raises(
        InputError, match=r"'\.xyz' is not a format for colour pictures; expected e\.g\. \.png"
    ):
        write_image(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="'' is not a format"):
        write_image(tmp_path / "a", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match=r"'\.pgm' is not a format"):  # of grey ones
        write_image(tmp_path / "a.pgm", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendNotInstalledError, match="pip install opencv-python-headless"):
        read_image("a.png")
