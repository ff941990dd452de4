"""One frame of a sequence of images."""

from dataclasses import dataclass
from fractions import Fraction

from engine.types import Image


@dataclass(frozen=True)
class Frame:
    """An image and when it is shown.

    Attributes:
        name: unique in its sequence, and the name of files about this frame, without suffix.
        time: seconds since the start of the sequence, exact.
        image: (H, W, 3) uint8 RGB, upright.
    """

    name: str
    time: Fraction
    image: Image
