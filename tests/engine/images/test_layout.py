"""Padding, rounding and channel order, against ``numpy.pad``."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.images import checked_image, network_input, padded_size


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


def test_contiguous_images_of_the_size_are_not_copied(rng):
    image = rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)
    assert np.shares_memory(network_input(image, (64, 128)), image)
    batch = rng.integers(0, 256, (2, 64, 128, 3), dtype=np.uint8)
    assert network_input(batch, (64, 128)) is batch
    assert not np.shares_memory(network_input(image, (64, 128), copy=True), image)
