"""Lists of arrays of different shapes in one file, between the benchmark and its workers."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from engine.types import Array


def save_arrays(path: Path, arrays: Iterable[Array]) -> None:
    """Write arrays of any shapes to an .npz file."""
    np.savez(path, *arrays)


def load_arrays(path: Path) -> list[Array]:
    """Read the arrays of `save_arrays`, in their order."""
    with np.load(path) as file:
        return [file[f"arr_{index}"] for index in range(len(file.files))]
