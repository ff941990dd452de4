"""Pairs of coloured noise under a known shift, of any size."""

import functools

import numpy as np
import numpy.typing as npt

from engine.bundle.manifest import SizeProfile
from engine.data.pair import Pair


def noise_within(profile: SizeProfile) -> tuple[Pair, ...]:
    """Return pairs of sizes that the profile allows.

    One of the optimum size, one of a size that is no multiple of any divisor, and a batch of two.
    """
    (_, *smallest), (_, height, width), (batch, *largest) = profile.min, profile.opt, profile.max
    low = [min(2 * side, limit) for side, limit in zip(smallest, largest, strict=True)]
    return (
        noise(1, height, width, seed=1),
        noise(1, height - 3, width - 5, seed=2),
        noise(min(2, batch), low[0], low[1], seed=3),
    )


def noise(batch: int, height: int, width: int, *, seed: int) -> Pair:
    """Draw noise on two scales; each second image is the first, moved by 5 pixels on both axes."""
    rng = np.random.default_rng(seed)
    margin = 8
    shape = (batch, height + margin, width + margin, 3)
    texture = 0.3 * _texture(rng, shape, cell=4) + 0.7 * _texture(rng, shape, cell=32)
    image = texture.clip(0, 255).astype(np.uint8)
    return Pair.without_flow(
        f"noise {batch}x{height}x{width}",
        np.ascontiguousarray(image[:, 3 : 3 + height, 5 : 5 + width]),
        np.ascontiguousarray(image[:, margin:, :width]),
    )


def _texture(
    rng: np.random.Generator, shape: tuple[int, int, int, int], *, cell: int
) -> npt.NDArray[np.float64]:
    """Draw colours on a grid of cells and interpolate them cubically."""
    batch, height, width, channels = shape
    texture = rng.uniform(0, 255, (batch, height // cell + 4, width // cell + 4, channels))
    for axis, side in ((1, height), (2, width)):
        low, past = np.divmod(np.arange(side), cell)
        position = np.expand_dims(1 + past / cell, tuple(range(1, 4 - axis)))
        points = (_cubic(position - i) * texture.take(low + i, axis) for i in range(4))
        texture = functools.reduce(np.add, points)
    return texture


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weight of a point by its distance in cells: Keys 1981, a = -0.75 as PyTorch."""
    a, d = -0.75, np.abs(distance)
    return np.where(d < 1, ((a + 2) * d - (a + 3)) * d**2 + 1, a * (((d - 5) * d + 8) * d - 4))
