"""Flows and files that the tests of the formats share."""

from pathlib import Path

import numpy as np

SUFFIXES = (".flo", ".png", ".pfm", ".npy", ".npz", ".flo5")


def file_with(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def sample(height: int = 3, width: int = 4) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 30, (height, width, 2)).astype(np.float32)
