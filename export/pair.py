"""A pair of images that a build looks at; pairs.py has where they come from, with PyTorch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
