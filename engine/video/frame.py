"""Frames, and what reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from engine.flow.affine import Affine
from engine.types import Image


@dataclass(frozen=True)
class Frame:
    """An image and when it is shown.

    Attributes:
        name: unique in its sequence, and the name of files about this frame, without suffix.
        time: seconds since the start of the sequence, exact.
        image: (H, W, 3) uint8 RGB, upright.
        motion: global motion from the frame before, (2, 3) float64, see `engine.flow.affine`; None
            where the source does not know it.
    """

    name: str
    time: Fraction
    image: Image
    motion: Affine | None = None


class FrameSource(Protocol):
    """An iterator over the frames of a sequence, all of one size.

    Attributes:
        path: the file or folder that they come from.
        height: in pixels.
        width: in pixels.
        begin: time of the first frame.
        rate: average number of frames per second.
        time_base: unit of the times, in seconds.
        expected_frames: number of frames, as far as it is known beforehand.
        live: whether the frames arrive as they happen, so that their end is up to the user.
    """

    path: Path
    height: int
    width: int
    begin: Fraction
    rate: Fraction
    time_base: Fraction
    expected_frames: int | None
    live: bool

    def __iter__(self) -> Iterator[Frame]:
        """Return the iterator itself."""

    def __next__(self) -> Frame:
        """Return the next frame."""

    def faults(self) -> list[str]:
        """Return what was wrong with the source as far as it was read, one sentence each."""
