"""Pairs of pictures on disk, of known content."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.flow.formats import write_flow
from engine.images import write_image


def image(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flow(height: int, width: int) -> NDArray[np.float32]:
    """Differs at each pixel and is unknown at the first one."""
    values = np.random.default_rng(3).normal(0, 20, (height, width, 2)).astype(np.float32)
    values[0, 0] = np.nan
    return values


def write_pair(folder: Path, name: str, height: int = 64, width: int = 64) -> None:
    """Two different pictures, of seeds 1 and 2, and their flow."""
    for number in (1, 2):
        write_image(folder / f"{name}_img{number}.png", image(height, width, number))
    write_flow(folder / f"{name}_flow.flo", flow(height, width))
