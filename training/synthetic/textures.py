"""Textures of the procedural pairs: photographs, collages, dead leaves, noise and plain shades.

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
_SHIFT = 4  # bits of the fraction of a corner's coordinates

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
    for radius in _radii(rng, smallest=4.0, largest=160.0, count=2500):
        centre = rng.uniform(-0.1, 1.1, 2) * TEXTURE_SIZE
        colour = palette[rng.integers(len(palette))].tolist()
        cv2.fillPoly(canvas, [_corners(rng, centre, radius)], colour, cv2.LINE_AA, _SHIFT)
    return canvas


def collage(rng: np.random.Generator, photos: list[np.ndarray]) -> np.ndarray:
    """`dead_leaves` whose shapes are cut from photographs that are turned, scaled and recoloured.

    Args:
        rng: source of randomness.
        photos: (512, 512, 3) uint8 each.
    """
    canvas = _recoloured(rng, photos[rng.integers(len(photos))])
    for radius in _radii(rng, smallest=16.0, largest=160.0, count=120):
        corners = _corners(rng, rng.uniform(-0.1, 1.1, 2) * TEXTURE_SIZE, radius)
        left, top, width, height = cv2.boundingRect(corners >> _SHIFT)
        left, right = max(left, 0), min(left + width + 1, TEXTURE_SIZE)
        top, bottom = max(top, 0), min(top + height + 1, TEXTURE_SIZE)
        photo, turn = photos[rng.integers(len(photos))], rng.uniform(0, 360)
        to_canvas = cv2.getRotationMatrix2D((0, 0), turn, np.exp(rng.uniform(-0.7, 0.9)))
        to_canvas[:, 2] = rng.uniform(-1, 1, 2) * TEXTURE_SIZE
        if left >= right or top >= bottom:
            continue
        size = (right - left, bottom - top)
        cut = cv2.warpAffine(photo, to_canvas, size, borderMode=cv2.BORDER_REFLECT_101)
        mask = np.zeros(cut.shape, np.uint8)
        corners -= np.array((left, top), np.int32) << _SHIFT
        cv2.fillPoly(mask, [corners], (255, 255, 255), cv2.LINE_AA, _SHIFT)
        part, share = canvas[top:bottom, left:right], mask.astype(np.float32) / 255
        part[:] = np.round(part + (_recoloured(rng, cut).astype(np.float32) - part) * share)
    return canvas


def _radii(rng: np.random.Generator, *, smallest: float, largest: float, count: int) -> list[float]:
    """Return sizes with density ~ r^-3 between the bounds, the largest first."""
    u = rng.random(count)  # by inversion of the distribution function
    return sorted((largest**-2 + u * (smallest**-2 - largest**-2)) ** -0.5, reverse=True)


def _corners(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return the corners of a random shape, (n, 2) in 1 / 2^``_SHIFT`` pixels."""
    count = int(rng.integers(3, 12))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = radius * rng.uniform(0.5, 1.3, count)
    points = centre + reach[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    return np.round(points * 2**_SHIFT).astype(np.int32)


def _recoloured(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Swap the colours of an image at random, and change its brightness and contrast."""
    levels = np.arange(256) if rng.random() < 0.8 else np.arange(256)[::-1]
    scale, offsets = np.exp(rng.uniform(-0.7, 0.4)), rng.uniform(-40, 40, 3)
    table = (levels[:, None] - 128) * scale + 128 + offsets
    order = rng.permutation(3) if rng.random() < 0.5 else np.arange(3)
    table = table.clip(0, 255).astype(np.uint8)[:, None]
    return cv2.LUT(np.ascontiguousarray(image[..., order]), table)


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
def texture_atlas(
    *, leaves: int = 40, noises: int = 16, collages: int = 0, seed: int = 7
) -> Tensor:
    """All textures side by side: (3, 512, 512 * n) float32 in 0..255; shared, not to be changed."""
    rng = np.random.default_rng(seed)
    photos = photographs()
    palettes = [photo.reshape(-1, 3) for photo in photos]
    tiles = list(photos)
    tiles += [dead_leaves(rng, palettes[i % len(palettes)]) for i in range(leaves)]
    tiles += [coloured_noise(rng) for _ in range(noises)]
    tiles += [collage(rng, photos) for _ in range(collages)]
    atlas = np.concatenate(tiles, axis=1)
    return torch.from_numpy(np.ascontiguousarray(atlas.transpose(2, 0, 1))).float()
