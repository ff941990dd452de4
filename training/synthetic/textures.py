"""Textures of the procedural pairs: photographs, dead leaves, noise and plain shades.

The photographs are from the scikit-image wheel, whose authors distribute them as free to use; its
stereo pair is excluded, because the benchmark evaluates on it. Everything else is procedural.
"""

import functools

import cv2
import numpy as np
import skimage.data
import torch
from torch import Tensor

TEXTURE_SIZE = 512

# name in skimage.data -> licence, as its documentation there states it.
PHOTOGRAPHS = {
    "astronaut": "public domain (NASA)",
    "brick": "CC0",
    "camera": "CC0",
    "cat": "CC0",
    "coffee": "CC0",
    "coins": "no known copyright restrictions",
    "grass": "CC0",
    "gravel": "CC0",
    "hubble_deep_field": "public domain (NASA)",
    "immunohistochemistry": "no known copyright restrictions",
    "moon": "none stated; distributed with scikit-image",
    "retina": "CC0",
    "rocket": "CC0 (SpaceX)",
}


def photographs() -> list[np.ndarray]:
    """Square crops of the photographs, each (512, 512, 3) uint8 RGB."""
    crops = []
    for name in PHOTOGRAPHS:
        image = getattr(skimage.data, name)()
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        image = np.ascontiguousarray(image[..., :3])
        # Fill the tile with the shorter side; a longer side gives more than one crop.
        scale = TEXTURE_SIZE / min(image.shape[:2])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        height, width = image.shape[:2]
        offsets = {(0, 0), (height - TEXTURE_SIZE, width - TEXTURE_SIZE)}
        crops += [image[y : y + TEXTURE_SIZE, x : x + TEXTURE_SIZE] for y, x in sorted(offsets)]
    return crops


def dead_leaves(rng: np.random.Generator, palette: np.ndarray) -> np.ndarray:
    """Overlapping shapes of power-law sizes: the simplest model with natural image statistics.

    Source: Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001.

    Args:
        rng: source of randomness.
        palette: (n, 3) uint8 colours to draw from, such as the pixels of a photograph.
    """
    canvas = np.empty((TEXTURE_SIZE, TEXTURE_SIZE, 3), np.uint8)
    canvas[:] = palette[rng.integers(len(palette))]
    smallest, largest, count = 4.0, 160.0, 2500
    # Sizes with density ~ r^-3 between the bounds, by inversion of the distribution function.
    u = rng.random(count)
    radii = (largest**-2 + u * (smallest**-2 - largest**-2)) ** -0.5
    for radius in sorted(radii, reverse=True):
        centre = rng.uniform(-0.1, 1.1, 2) * TEXTURE_SIZE
        colour = palette[rng.integers(len(palette))].tolist()
        corners = int(rng.integers(3, 12))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        reach = radius * rng.uniform(0.5, 1.3, corners)
        points = centre + reach[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
        cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    return canvas


def coloured_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise with a 1/f^b spectrum, b from rough (0.8) to cloudy (2.2), in random colours."""
    frequency = np.hypot(
        np.fft.fftfreq(TEXTURE_SIZE)[:, None], np.fft.rfftfreq(TEXTURE_SIZE)[None, :]
    )
    frequency[0, 0] = 1
    spectrum = frequency ** -rng.uniform(0.8, 2.2)
    channels = []
    for _ in range(3):
        white = np.fft.rfft2(rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
        channel = np.fft.irfft2(white * spectrum, s=(TEXTURE_SIZE, TEXTURE_SIZE))
        channels.append((channel - channel.mean()) / channel.std())
    noise = np.stack(channels, axis=-1)
    # Mostly shared over the channels: natural colours are strongly correlated.
    noise = 0.8 * noise[..., :1] + 0.4 * noise * rng.uniform(0, 1)
    base = rng.uniform(60, 200, 3)
    return np.clip(base + noise * rng.uniform(15, 55), 0, 255).astype(np.uint8)


@functools.cache
def texture_atlas(*, leaves: int = 40, noises: int = 16, seed: int = 7) -> Tensor:
    """All textures side by side: (3, 512, 512 * n) float32 in 0..255; shared, not to be changed."""
    rng = np.random.default_rng(seed)
    photos = photographs()
    palettes = [photo.reshape(-1, 3) for photo in photos]
    tiles = list(photos)
    tiles += [dead_leaves(rng, palettes[i % len(palettes)]) for i in range(leaves)]
    tiles += [coloured_noise(rng) for _ in range(noises)]
    atlas = np.concatenate(tiles, axis=1)
    return torch.from_numpy(np.ascontiguousarray(atlas.transpose(2, 0, 1))).float()
