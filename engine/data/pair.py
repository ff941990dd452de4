"""A pair of images and the true flow between them."""

from dataclasses import dataclass, replace

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
    """

    name: str
    image1: Image
    image2: Image
    flow: Flow

    @classmethod
    def without_flow(cls, name: str, image1: Image, image2: Image) -> "Pair":
        """Return a pair whose flow is unknown everywhere."""
        unknown = np.broadcast_to(np.float32(np.nan), (*image1.shape[:-1], 2))  # one value stored
        return cls(name, image1, image2, unknown)

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
        """Return the pair as a batch of one: (1, H, W, 3) images and (1, H, W, 2) flow."""
        images = self.image1[np.newaxis], self.image2[np.newaxis]
        return replace(self, image1=images[0], image2=images[1], flow=self.flow[np.newaxis])
