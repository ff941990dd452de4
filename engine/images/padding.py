"""Fits images to multiples of a network's divisor, as the published protocols do it."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from engine.errors import InputError, nearest
from engine.images.layout import padded_size
from engine.types import Array, Flow

PaddingMode = Literal["bottom_right", "sintel", "kitti", "centre_crop", "resize"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


class Fit(Protocol):
    """Fits an image to a network, and the network's flow to the image."""

    def apply(self, image: Array) -> Array:
        """Return the image, (H, W, 3) uint8, at the network's size."""
        ...

    def restore(self, flow: Flow) -> Flow:
        """Return the network's flow at the image's size, (H, W, 2), NaN where it has none."""
        ...


@dataclass(frozen=True)
class Padding:
    """Rows and columns to add around an image, copies of its first and last ones."""

    left: int
    right: int
    top: int
    bottom: int

    def apply(self, image: Array) -> Array:
        """See `Fit`."""
        sides = [(self.top, self.bottom), (self.left, self.right), (0, 0)]
        return np.pad(image, sides, mode="edge")

    def restore(self, flow: Flow) -> Flow:
        """See `Fit`; a copy."""
        height, width, _ = flow.shape
        rows, columns = slice(self.top, height - self.bottom), slice(self.left, width - self.right)
        return flow[rows, columns].copy()


@dataclass(frozen=True)
class CentreCrop:
    """The centre of an image: NVIDIA/flownet2-pytorch, ``datasets.py``, ``StaticCenterCrop``."""

    image: tuple[int, int]
    size: tuple[int, int]

    def apply(self, image: Array) -> Array:
        """See `Fit`."""
        return np.ascontiguousarray(image[self._window])

    def restore(self, flow: Flow) -> Flow:
        """See `Fit`."""
        whole = np.full((*self.image, 2), np.nan, np.float32)
        whole[self._window] = flow
        return whole

    @property
    def _window(self) -> tuple[slice, slice]:
        starts = ((side - kept) // 2 for side, kept in zip(self.image, self.size, strict=True))
        rows, columns = (slice(at, at + n) for at, n in zip(starts, self.size, strict=True))
        return rows, columns


@dataclass(frozen=True)
class Resize:
    """Bilinear resizing of images and flow: FlowNet's Caffe nets and mmflow's ``InputResize``."""

    image: tuple[int, int]
    size: tuple[int, int]

    def apply(self, image: Array) -> Array:
        """See `Fit`."""
        return _resized(image, self.size)

    def restore(self, flow: Flow) -> Flow:
        """See `Fit`; each axis is scaled with its values."""
        scale = [a / b for a, b in zip(self.image[::-1], self.size[::-1], strict=True)]
        return _resized(flow, self.image) * np.array(scale, np.float32)


def _resized(array: Array, size: tuple[int, int]) -> Array:
    import cv2  # an optional dependency

    resized: Array = cv2.resize(array, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized


def fit(height: int, width: int, divisor: int, mode: PaddingMode, smallest: int = 1) -> Fit:
    """Return how an image is brought to multiples of ``divisor``.

    Args:
        height: of the image.
        width: of the image.
        divisor: 8 for RAFT, 64 for the FlowNet family.
        mode: ``bottom_right`` pads as the engine itself does. ``sintel`` and ``kitti`` pad as the
            modes of ``InputPadder`` in RAFT (princeton-vl/RAFT, ``core/utils/utils.py``): the
            columns half on each side, the larger half on the right; the rows likewise (sintel) or
            all below (kitti). ``centre_crop`` and ``resize``: see `CentreCrop` and `Resize`.
        smallest: least height and width that the network takes: 128 for RAFT.

    Raises:
        InputError: There is no such mode, or a side is too short to be cropped.
    """
    if mode not in PADDING_MODES:
        raise InputError(
            f"there is no padding {mode!r}; expected one of {', '.join(PADDING_MODES)}."
            f"{nearest(str(mode), PADDING_MODES)}"
        )
    padded = padded_size(height, width, divisor, smallest)
    if mode == "resize":
        return Resize((height, width), padded)
    if mode == "centre_crop":
        kept = height // divisor * divisor, width // divisor * divisor
        least = max(padded_size(1, 1, divisor, smallest))
        if min(kept) < least:
            raise InputError(
                f"an image of {height}x{width} has no centre of multiples of {divisor}; expected "
                f"at least {least}x{least}. Choose another padding."
            )
        return CentreCrop((height, width), kept)
    rows, columns = padded[0] - height, padded[1] - width
    if mode == "bottom_right":
        return Padding(0, columns, 0, rows)
    top = rows // 2 if mode == "sintel" else 0
    return Padding(columns // 2, columns - columns // 2, top, rows - top)
