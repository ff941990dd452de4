"""Noise: its scales and its shift."""

import numpy as np

from export.verify.noise import noise


def test_noise_is_coarse_and_fine_and_moves_by_five_pixels_each_way() -> None:
    pair = noise(2, 128, 256, seed=1)
    np.testing.assert_array_equal(pair.image2[:, :-5, 5:], pair.image1[:, 5:, :-5])
    coarse, fine = (
        pair.image1.reshape(2, 128 // side, side, 256 // side, side, 3) for side in (32, 8)
    )
    assert coarse.mean((2, 4)).std() > 15
    assert fine.std((2, 4)).mean() > 13
    assert (pair.image1[0] != pair.image1[1]).any()
