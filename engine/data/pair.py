"""A pair of images and the true flow between them."""

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.flow.validity import Mask
from engine.types import Flow, Image


class PairsError(EngineError, ValueError):
    """A folder or file does not hold usable pairs; the message names it."""


@dataclass(frozen=True)
class Pair:
    """Two RGB images, or two batches of them, and the true flow from the first to the second.

    Attributes:
        name: identifies the pair in reports and errors.
        image1: (H, W, 3) or (N, H, W, 3) uint8, RGB.
        image2: likewise, of the same shape.
        flow: (H, W, 2) or (N, H, W, 2) float32, pixels, x then y; NaN where it is unknown.
        occluded: (H, W) or (N, H, W), True where the pixel is hidden in the second image or leaves
            it; None if the data set does not say.
        foreground: likewise, True on moving objects.
        invalid: likewise, True where the authors do not trust their flow. Published errors on
            training sets include these pixels.
        candidates: (4, H, W, 2) or (N, 4, H, W, 2) float32, the true flows of a data set with
            several vectors for each pixel, of which an estimate is compared with the nearest;
            ``flow`` is then the first of them, unknown where one of them is unknown.
    """

    name: str
    image1: Image
    image2: Image
    flow: Flow
    occluded: Mask | None = None
    foreground: Mask | None = None
    invalid: Mask | None = None
    candidates: Flow | None = None

    @classmethod
    def without_flow(cls, name: str, image1: Image, image2: Image) -> "Pair":
        """Return a pair whose flow is unknown everywhere."""
        return cls(name, image1, image2, unknown_flow(image1))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.image1.shape[-3:-1]
        return height, width

    @property
    def valid(self) -> Mask:
        """(H, W) or (N, H, W) bool: where the flow is known."""
        return np.asarray(~np.isnan(self.flow).any(axis=-1))

    def batched(self) -> "Pair":
        """Return the pair as a batch of one: every array gets a first axis of length 1."""
        return Pair(
            self.name,
            self.image1[np.newaxis],
            self.image2[np.newaxis],
            self.flow[np.newaxis],
            occluded=None if self.occluded is None else self.occluded[np.newaxis],
            foreground=None if self.foreground is None else self.foreground[np.newaxis],
            invalid=None if self.invalid is None else self.invalid[np.newaxis],
            candidates=None if self.candidates is None else self.candidates[np.newaxis],
        )


def unknown_flow(image: Image) -> Flow:
    """Return a flow of an image's size that is unknown everywhere; it stores one value."""
    return np.broadcast_to(np.float32(np.nan), (*image.shape[:-1], 2))
