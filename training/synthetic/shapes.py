"""Outlines of the synthetic foreground: signed distance maps of random silhouettes.

The vocabulary follows the FlowNet authors' generator (Mayer et al., IJCV 2018, arXiv 1801.06397,
mode 7): ellipses, polygons, thin parts, and composites that add components or cut holes.
"""

import functools

import cv2
import numpy as np
import torch
from torch import Tensor

CANVAS = 256  # the silhouettes are drawn on this grid ...
STORED = 96  # ... and their smooth distance maps kept on this one


def _draw(canvas: np.ndarray, points: np.ndarray, value: int) -> None:
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], value, cv2.LINE_8, 4)


def _polygon(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, value: int) -> None:
    spokes = int(rng.integers(3, 21))
    angles = np.linspace(0, 2 * np.pi, spokes, endpoint=False)
    angles = angles + rng.uniform(-0.17, 0.17, spokes) + rng.uniform(0, 2 * np.pi)
    radii = rng.uniform(20, 80, spokes)
    points = radii[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    _draw(canvas, centre + points * rng.uniform(0.6, 1.3, 2), value)


def _ellipse(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, value: int) -> None:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    axes = 45 * rng.uniform(0.4, 2, 2)
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = np.stack((axes[0] * np.cos(angles), axes[1] * np.sin(angles)), axis=1) @ rotation.T
    _draw(canvas, centre + points, value)


def _box(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, value: int) -> None:
    half = rng.uniform(12, 75, 2)
    shear = rng.uniform(-0.3, 0.3)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners[:, 0] += shear * corners[:, 1]
    _draw(canvas, centre + corners, value)


def _strokes(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, value: int) -> None:
    """Legs and frames: a few thin straight or bent lines leaving one place."""
    for _ in range(int(rng.integers(2, 6))):
        direction = rng.uniform(0, 2 * np.pi)
        points = [centre + rng.uniform(-30, 30, 2)]
        for _ in range(int(rng.integers(1, 4))):
            step = rng.uniform(40, 110) * np.array([np.cos(direction), np.sin(direction)])
            points.append(points[-1] + step)
            direction += rng.normal(0, 0.6)
        line = np.round(np.array(points)).astype(np.int32)
        cv2.polylines(canvas, [line], False, value, thickness=int(rng.integers(3, 14)))


def silhouette(rng: np.random.Generator) -> np.ndarray:
    """Draw one object: (256, 256) uint8, 255 inside, 0 outside and along the border."""
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    middle = np.full(2, CANVAS / 2)
    bodies = (_polygon, _ellipse, _box)
    bodies[rng.integers(3)](rng, canvas, middle, 255)
    for _ in range(int(rng.integers(0, 6))):
        place = middle + rng.uniform(-45, 45, 2)
        additive = rng.random() < 0.6
        parts = (*bodies, _strokes, _strokes) if additive else bodies
        parts[rng.integers(len(parts))](rng, canvas, place, 255 if additive else 0)
    margin = 6
    canvas[:margin] = canvas[-margin:] = 0
    canvas[:, :margin] = canvas[:, -margin:] = 0
    return canvas


def half_plane() -> Tensor:
    """Return the map of an outline that covers all of x > 0: (1, 96, 96) float32."""
    places = (torch.arange(STORED) + 0.5) * (2 / STORED) - 1
    return places.expand(1, STORED, STORED).clone()


@functools.cache
def distance_maps(count: int = 400, *, seed: int = 11) -> Tensor:
    """Signed distances to ``count`` random outlines.

    Returns:
        (1, 96, 96 * count) float32, side by side: distance to the outline, positive inside, in
        units of half the map's width (a map spans -1..1); shared, not to be changed.
    """
    rng = np.random.default_rng(seed)
    maps: list[np.ndarray] = []
    while len(maps) < count:
        canvas = silhouette(rng)
        if np.count_nonzero(canvas) < 400:  # the holes ate it up
            continue
        inside = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        outside = cv2.distanceTransform(255 - canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Pixel centres on either side of the outline are half a pixel from it.
        signed = np.where(canvas > 0, inside - 0.5, 0.5 - outside) / (CANVAS / 2)
        maps.append(cv2.resize(signed, (STORED, STORED), interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.concatenate(maps, axis=1)[None].astype(np.float32))
