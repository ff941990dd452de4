"""Normalisations against numpy."""

import numpy as np
import torch

from training.normalise import Centred, FixedMean, PairMean

RNG = np.random.default_rng(0)
IMAGES = [RNG.uniform(0, 255, (2, 3, 4, 5)).astype(np.float32) for _ in range(2)]


def test_fixed_mean() -> None:
    outputs = FixedMean()(*(torch.from_numpy(i) for i in IMAGES))
    for image, output in zip(IMAGES, outputs, strict=True):
        expected = image / 255 - np.array([0.45, 0.432, 0.411])[:, None, None]
        np.testing.assert_allclose(output.numpy(), expected, atol=1e-6)


def test_int8_tells_centred_values_apart() -> None:
    values = torch.arange(256.0).expand(1, 3, 1, 256)
    first, second = Centred()(values, 255 - values)
    torch.testing.assert_close(first, -second)
    codes = (first[0, 0, 0] / 0.5 * 127).round()
    assert codes.unique().numel() == 255


def test_pair_mean() -> None:
    outputs = PairMean()(*(torch.from_numpy(i) for i in IMAGES))
    mean = np.stack(IMAGES).mean(axis=(0, 3, 4))[:, :, None, None]
    for image, output in zip(IMAGES, outputs, strict=True):
        np.testing.assert_allclose(output.numpy(), (image - mean) / 255, atol=1e-6)
