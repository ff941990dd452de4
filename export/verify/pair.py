"""A pair of images that a build looks at, and noise for some; pairs.py has the other sources."""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.bundle.manifest import SizeProfile

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

# What a gate measures on unless told otherwise; `./synthetic` is a folder of that name.
GATE_SOURCES = ("motorcycle", "synthetic")


@dataclass(frozen=True)
class Pair:
    """Two images, or two batches of them.

    Attributes:
        name: says what it is and its size.
        image1: first image(s), uint8 (N, H, W, 3) RGB.
        image2: second image(s), likewise.
        flow: true flow (N, H, W, 2) in pixels, NaN where unknown; None where there is none.
    """

    name: str
    image1: UInt8Array
    image2: UInt8Array
    flow: Float32Array | None = None


def noise_within(profile: SizeProfile) -> tuple[Pair, ...]:
    """Return pairs of noise of sizes that the profile allows.

    One of the size the bundle is built for, one of a size that is no multiple of any divisor, and
    two pairs in one batch.
    """
    (_, *smallest), (_, height, width), (batch, *largest) = profile.min, profile.opt, profile.max
    low = [min(2 * side, limit) for side, limit in zip(smallest, largest, strict=True)]
    return (
        noise(1, height, width, seed=1),
        noise(1, height - 3, width - 5, seed=2),
        noise(min(2, batch), low[0], low[1], seed=3),
    )


def noise(batch: int, height: int, width: int, *, seed: int) -> Pair:
    """Draw coloured noise, fine on coarse; each second image is the first moved by a few pixels."""
    rng = np.random.default_rng(seed)
    margin = 8
    shape = (batch, height + margin, width + margin, 3)
    texture = 0.3 * _texture(rng, shape, cell=4) + 0.7 * _texture(rng, shape, cell=32)
    image = texture.clip(0, 255).astype(np.uint8)
    return Pair(
        f"noise {batch}x{height}x{width}",
        np.ascontiguousarray(image[:, 3 : 3 + height, 5 : 5 + width]),
        np.ascontiguousarray(image[:, margin:, :width]),
    )


def _texture(
    rng: np.random.Generator, shape: tuple[int, int, int, int], *, cell: int
) -> npt.NDArray[np.float64]:
    """Draw colours at points that are a cell of pixels apart, and cubic between them."""
    batch, height, width, channels = shape
    texture = rng.uniform(0, 255, (batch, height // cell + 4, width // cell + 4, channels))
    for axis, side in ((1, height), (2, width)):
        low, past = np.divmod(np.arange(side), cell)
        position = np.expand_dims(1 + past / cell, tuple(range(1, 4 - axis)))
        points = (_cubic(position - i) * texture.take(low + i, axis) for i in range(4))
        texture = functools.reduce(np.add, points)
    return texture


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weigh a point by its distance in cells, at most 2: Keys 1981, with PyTorch's a = -0.75."""
    a, d = -0.75, np.abs(distance)
    return np.where(d < 1, ((a + 2) * d - (a + 3)) * d**2 + 1, a * (((d - 5) * d + 8) * d - 4))
