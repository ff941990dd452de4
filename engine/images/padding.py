"""Padding of images to multiples of a network's divisor, as the published protocols do it."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from engine.errors import InputError, nearest
from engine.images.layout import padded_size
from engine.types import Array

PaddingMode = Literal["bottom_right", "sintel", "kitti"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


@dataclass(frozen=True)
class Padding:
    """Rows and columns to add around an image."""

    left: int
    right: int
    top: int
    bottom: int

    def apply(self, image: Array) -> Array:
        """Pad (..., H, W, C) with copies of its first and last rows and columns."""
        around = [(0, 0)] * (image.ndim - 3)
        sides = [(self.top, self.bottom), (self.left, self.right), (0, 0)]
        return np.pad(image, around + sides, mode="edge")

    def remove(self, flow: Array) -> Array:
        """Return the view of a padded (..., H, W, C) that the image was."""
        height, width = flow.shape[-3:-1]
        return flow[..., self.top : height - self.bottom, self.left : width - self.right, :]


def padding(height: int, width: int, divisor: int, mode: PaddingMode) -> Padding:
    """Return the padding of an image to multiples of ``divisor``.

    Args:
        height: of the image.
        width: of the image.
        divisor: 8 for RAFT, 64 for the FlowNet family.
        mode: ``bottom_right``, as the engine itself pads; ``sintel`` halves both, the larger half
            below and on the right; ``kitti`` halves the columns and puts all rows below, as in
            RAFT's ``core/utils/utils.py``, ``InputPadder``. (RAFT's text calls the latter "kitti"
            and tests on KITTI with it.)

    Raises:
        InputError: There is no such mode.
    """
    if mode not in PADDING_MODES:
        raise InputError(
            f"there is no padding {mode!r}; expected one of {', '.join(PADDING_MODES)}."
            f"{nearest(str(mode), PADDING_MODES)}"
        )
    rows, columns = (
        padded - side
        for padded, side in zip(padded_size(height, width, divisor), (height, width), strict=True)
    )
    if mode == "bottom_right":
        return Padding(0, columns, 0, rows)
    top = rows // 2 if mode == "sintel" else 0
    return Padding(columns // 2, columns - columns // 2, top, rows - top)
