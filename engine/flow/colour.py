"""Colour coding of flow: the Middlebury colour wheel (Baker et al., IJCV 2011; ``colorcode.cpp``).

Hue is the direction and saturation the magnitude: zero flow is white, the maximum magnitude is a
fully saturated hue, larger flow is darkened.
"""

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.flow.validity import known, unmasked
from engine.types import Image


def _wheel() -> npt.NDArray[np.float32]:
    """Return the (55, 3) RGB hues in 0..255, from red through yellow, green, blue and magenta."""
    # Number of hues between neighbouring corners, chosen by perceptual similarity in the original.
    corners = ("red", 15), ("yellow", 6), ("green", 4), ("cyan", 11), ("blue", 13), ("magenta", 6)
    rgb = {
        "red": (255, 0, 0), "yellow": (255, 255, 0), "green": (0, 255, 0),
        "cyan": (0, 255, 255), "blue": (0, 0, 255), "magenta": (255, 0, 255),
    }  # fmt: skip
    hues = []
    for (start, steps), (end, _) in zip(corners, corners[1:] + corners[:1], strict=True):
        rise = 255 * np.arange(steps)[:, None] // steps * np.sign(np.subtract(rgb[end], rgb[start]))
        hues.append(rgb[start] + rise)
    return np.concatenate(hues).astype(np.float32)


_WHEEL = _wheel()

# Smallest magnitude in pixels that gets full saturation unless a caller asks for less: the noise of
# still scenes stays pale.
LEAST_SCALE = 1.0


def flow_to_color(flow: npt.ArrayLike, *, max_magnitude: float | None = None) -> Image:
    """Return a colour-coded picture of a flow, (H, W, 3) uint8 RGB.

    Args:
        flow: (H, W, 2) floats in pixels, x then y. Unknown flow (NaN or beyond 1e9) is black.
        max_magnitude: magnitude in pixels that gets full saturation, to share one scale between
            pictures; larger flow is darkened. By default the largest magnitude of this flow, at
            least `LEAST_SCALE`.

    Raises:
        InputError: ``flow`` has another shape or type or masked values, or ``max_magnitude`` is
            not a positive number.
    """
    given = unmasked(flow)
    if given.dtype.kind != "f" or given.ndim != 3 or given.shape[2] != 2:
        raise InputError(
            f"flow is {given.dtype} {given.shape}; expected floats (H, W, 2), x then y. "
            "Move the channels last and colour one flow at a time."
        )
    if max_magnitude is not None and not 0 < max_magnitude < np.inf:
        raise InputError(
            f"max_magnitude is {max_magnitude}; expected a positive number of pixels, "
            "or None for this picture's own largest."
        )
    with np.errstate(over="ignore"):
        array = given.astype(np.float32)
    valid = known(array)
    # + 0.0 turns -0.0 into 0.0: arctan2 would map the two to different ends of the wheel.
    vectors = array[valid] + np.float32(0)
    lengths = np.hypot(vectors[:, 0], vectors[:, 1])
    scale = lengths.max(initial=LEAST_SCALE) if max_magnitude is None else max_magnitude
    turns = np.arctan2(-vectors[:, 1], -vectors[:, 0]) / np.float32(2 * np.pi) + np.float32(0.5)
    picture = np.zeros((*valid.shape, 3), np.uint8)
    picture[valid] = wheel_colors(turns, lengths / np.float32(scale))
    return picture


def wheel_colors(turns: npt.NDArray[np.float32], radii: npt.NDArray[np.float32]) -> Image:
    """Return the wheel's colours, (..., 3) uint8 RGB.

    Args:
        turns: directions, (...) from 0 to 1: 0 is right, 1/4 is down.
        radii: magnitudes relative to that of full saturation, which may be broadcast with them.
    """
    position = turns * (len(_WHEEL) - 1)
    first = position.astype(np.intp)
    share = (position - first)[..., None]
    hues = (1 - share) * _WHEEL[first] + share * _WHEEL[(first + 1) % len(_WHEEL)]
    radius = radii[..., None]
    colors: npt.NDArray[np.float32] = np.where(
        radius <= 1, 255 - radius * (255 - hues), 0.75 * hues
    )
    return colors.astype(np.uint8)


def color_wheel_legend(size: int) -> Image:
    """Return the legend of ``flow_to_color``: (size, size, 3) uint8 RGB, a disc on white.

    Each pixel of the disc has the colour of the flow that points from the centre to it; flow of
    magnitude ``max_magnitude`` points to the rim.

    Raises:
        InputError: ``size`` is below 1.
    """
    if size < 1:
        raise InputError(f"size is {size}; expected the legend's width in pixels, at least 1.")
    axis = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    legend = flow_to_color(flow, max_magnitude=1)
    legend[np.hypot(flow[..., 0], flow[..., 1]) > 1] = 255
    return legend
