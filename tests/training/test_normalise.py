"""Normalisations against numpy."""

import numpy as np
import pytest
import torch

from training.normalise import NORMALISATIONS, Centred, FixedMean, PairMean

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


@pytest.mark.parametrize(
    ("name", "black", "grey", "white"),
    [
        ("centred", -0.5, -0.1, 0.5),
        ("minus_one_to_one", -1.0, -0.2, 1.0),
        ("zero_to_one", 0.0, 0.4, 1.0),
    ],
)
def test_values_of_black_grey_and_white(name: str, black: float, grey: float, white: float) -> None:
    image = torch.tensor([0.0, 102.0, 255.0]).expand(1, 3, 1, 3)
    normalisation = NORMALISATIONS[name]()
    outputs = normalisation(image, image.flip(3))
    expected = torch.tensor([black, grey, white]).expand(1, 3, 1, 3)
    torch.testing.assert_close(outputs[0], expected, rtol=0, atol=1e-7)
    assert torch.equal(outputs[1], outputs[0].flip(3))
    assert torch.equal(normalisation.alone(image), outputs[0])
