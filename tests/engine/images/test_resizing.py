"""Sizes and pixels of resized images."""

import numpy as np
import pytest

from engine.images.resizing import limited, resized


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((1080, 1920), 960, (540, 960)), ((1920, 1080), 512, (512, 288)), ((5, 4000), 40, (1, 40)),
     ((480, 640), 640, (480, 640)), ((480, 640), 4000, (480, 640)), ((437, 1024), 512, (218, 512))],
)  # fmt: skip
def test_the_longer_side_is_limited_and_nothing_is_enlarged(size, longest, expected):
    assert limited(size, longest) == expected


def test_pixels_are_means_of_areas(rng):
    image = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    means = image.reshape(3, 4, 5, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resized(image, (3, 5)), means, atol=0.5)
    assert resized(image, (12, 20)) is image
