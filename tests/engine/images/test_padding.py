"""Padding as the published protocols pad, by their numbers and against ``numpy.pad``."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.images.padding import PADDING_MODES, CentreCrop, Padding, Resize, fit

sides = st.integers(1, 70)


@pytest.mark.parametrize(
    ("size", "divisor", "mode", "expected"),
    [
        # left, right, top, bottom as RAFT's InputPadder has them.
        ((436, 1024), 8, "sintel", (0, 0, 2, 2)),
        ((375, 1242), 8, "sintel", (3, 3, 0, 1)),
        ((370, 1226), 8, "sintel", (3, 3, 3, 3)),
        ((436, 1024), 8, "kitti", (0, 0, 0, 4)),
        ((370, 1226), 8, "kitti", (3, 3, 0, 6)),
        ((375, 1241), 8, "kitti", (3, 4, 0, 1)),
        ((436, 1024), 64, "sintel", (0, 0, 6, 6)),
        ((375, 1242), 64, "bottom_right", (0, 38, 0, 9)),
        ((384, 512), 64, "sintel", (0, 0, 0, 0)),
    ],
)
def test_margins_by_hand(size, divisor, mode, expected):
    assert fit(*size, divisor, mode) == Padding(*expected)


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        # To 128x128, as RAFT takes nothing smaller: 28 rows and 29 columns more.
        ((100, 99), "sintel", (14, 15, 14, 14)),
        ((100, 99), "kitti", (14, 15, 0, 28)),
        ((100, 99), "bottom_right", (0, 29, 0, 28)),
        # 21 rows more, but only 5 columns to the next multiple of 8.
        ((107, 131), "sintel", (2, 3, 10, 11)),
    ],
)
def test_margins_to_the_smallest_size_by_hand(size, mode, expected):
    assert fit(*size, 8, mode, smallest=128) == Padding(*expected)


def test_a_small_image_is_resized_to_the_smallest_size():
    assert fit(100, 131, 8, "resize", smallest=128) == Resize((100, 131), (128, 136))


@given(sides, sides, st.sampled_from([1, 8, 64]), st.sampled_from(["sintel", "kitti"]))
def test_padding_is_undone(height, width, divisor, mode):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    margins = fit(height, width, divisor, mode)
    padded = margins.apply(image)
    rows, columns = padded.shape[0] - height, padded.shape[1] - width
    assert padded.shape[0] % divisor == padded.shape[1] % divisor == 0
    assert 0 <= min(rows, columns) <= max(rows, columns) < divisor
    top = rows // 2 if mode == "sintel" else 0
    around = [(top, rows - top), (columns // 2, columns - columns // 2), (0, 0)]
    np.testing.assert_array_equal(padded, np.pad(image, around, "edge"))
    np.testing.assert_array_equal(margins.restore(padded), image)


@pytest.mark.parametrize(
    ("size", "kept", "corner"),
    [((436, 1024), (384, 1024), (26, 0)), ((375, 1242), (320, 1216), (27, 13))],
)
def test_the_centre_by_hand(size, kept, corner):
    """384 rows of Sintel: ``[(h - th) // 2 : (h + th) // 2]`` in StaticCenterCrop."""
    crop = fit(*size, 64, "centre_crop")
    assert crop == CentreCrop(size, kept)
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.stack([y % 256, x % 256, x % 7], axis=-1).astype(np.uint8)
    seen = crop.apply(image)
    (top, left), (rows, columns) = corner, kept
    np.testing.assert_array_equal(seen, image[top : top + rows, left : left + columns])
    flow = crop.restore(np.ones((*kept, 2), np.float32))
    assert flow.shape == (*size, 2)
    assert (flow[top : top + rows, left : left + columns] == 1).all()
    assert np.isnan(flow).sum() == 2 * (size[0] * size[1] - rows * columns)


@given(st.integers(20, 70), st.integers(20, 70), st.sampled_from([8, 64]))
def test_resizing_scales_the_flow(height, width, divisor):
    """A flow that is a share of the sides stays that share."""
    resize = fit(height, width, divisor, "resize")
    image = np.full((height, width, 3), 77, np.uint8)
    seen = resize.apply(image)
    rows, columns, _ = seen.shape
    assert (rows, columns) == (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
    assert (seen == 77).all()
    flow = np.tile(np.float32([columns / 4, -rows / 2]), (rows, columns, 1))
    expected = np.tile(np.float32([width / 4, -height / 2]), (height, width, 1))
    np.testing.assert_allclose(resize.restore(flow), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_an_image_that_fits_stays(mode):
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    np.testing.assert_array_equal(fit(64, 128, 64, mode).apply(image), image)


def test_what_cannot_be_fitted():
    with pytest.raises(InputError, match=r"no padding 'sintl'; .*Did you mean 'sintel'"):
        fit(64, 64, 8, "sintl")
    with pytest.raises(InputError, match=r"63x200 has no centre of multiples of 64; expected at"):
        fit(63, 200, 64, "centre_crop")
    with pytest.raises(InputError, match=r"of multiples of 8; expected at least 128x128"):
        fit(135, 127, 8, "centre_crop", smallest=128)
