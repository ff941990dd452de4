"""The legend in a picture."""

import numpy as np
import pytest

from engine.flow.colour import color_wheel_legend
from engine.flow.legend import Legend


def test_wheel_and_number_in_the_corner():
    pictures = np.full((2, 300, 400, 3), 7, np.uint8)
    legend = Legend(300, 400)
    for picture, scale in zip(pictures, (12.5, 3), strict=True):
        legend.draw(picture, scale)
    size = 60  # a fifth of the height
    changed = (pictures[0] != 7).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert (rows.max(), columns.max()) == (299, 399)
    top, left = rows.min() + 4, columns.min() + 4
    wheel = pictures[0, top : top + size, left : left + size]
    np.testing.assert_array_equal(wheel, color_wheel_legend(size))
    differing = np.nonzero((pictures[0] != pictures[1]).any(axis=-1))[0]
    assert differing.min() >= top + size  # the number is below the wheel


def test_long_numbers_are_not_cut():
    """A column of white is left of the number, and right of it."""
    panel = Legend(200, 200).panel(12345)
    number = panel[-18:]
    dark = (number < 128).all(axis=-1).any(axis=0)
    assert dark.any()
    assert not dark[[0, -1]].any()


@pytest.mark.parametrize("size", [(96, 128), (150, 110), (199, 199)])
def test_a_small_picture_has_a_small_legend(size):
    picture = np.full((*size, 3), 7, np.uint8)
    Legend(*size).draw(picture, 12.5)
    changed = (picture != 7).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert changed.mean() < 1 / 6
    wheel = max(28, min(size) // 5)
    top, left = rows.min() + 2, columns.min() + 2
    found = picture[top : top + wheel, left : left + wheel]
    np.testing.assert_array_equal(found, color_wheel_legend(wheel))
    number = picture[top + wheel :, columns.min() :]
    dark = np.nonzero((number < 160).all(axis=-1))[0]
    assert np.ptp(dark) >= 6  # seven rows, the height of legible digits


@pytest.mark.parametrize("size", [(95, 400), (400, 95), (1, 1)])
def test_in_tiny_pictures_a_legend_would_hide_too_much(size):
    picture = np.full((*size, 3), 7, np.uint8)
    Legend(*size).draw(picture, 5)
    assert (picture == 7).all()
