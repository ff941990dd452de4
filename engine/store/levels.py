"""Flow in pixels to and from 16-bit levels.

The step is a power of two, so that levels become floats without rounding: the error of a known
value is at most half a step, and what is a multiple of the step is kept exactly.
"""

import math

import numpy as np
import numpy.typing as npt

from engine.errors import InputError
from engine.flow.validity import Mask, known
from engine.types import Flow

Levels = npt.NDArray[np.int16]

DEFAULT_STEP = 1 / 64
UNKNOWN = -32768
LARGEST = 32767
FINEST, COARSEST = 2.0**-12, 2.0**4
BAND = 16  # rows at a time: temporary arrays stay in the CPU's cache


def is_step(step: float) -> bool:
    """Return whether a store may have this step."""
    return FINEST <= step <= COARSEST and math.frexp(step)[0] == 0.5


def check_step(step: float) -> None:
    """Raise ``InputError`` unless ``step`` is a power of two from 1/4096 to 16 px."""
    if not is_step(step):
        raise InputError(
            f"step is {step} px; expected a power of two from 1/4096 to 16. "
            f"{DEFAULT_STEP} is the usual one."
        )


def step_text(step: float) -> str:
    """Return ``1/64`` or ``2``."""
    return f"1/{1 / step:.0f}" if step < 1 else f"{step:.0f}"


def levels_from_flow(flow: Flow, step: float) -> Levels:
    """Round a flow to multiples of the step.

    Args:
        flow: (H, W, 2) float32 pixels, x then y. A pixel is unknown where it is NaN, infinite or
            beyond 1e9 px.
        step: in pixels.

    Returns:
        (2, H, W) int16, the x and the y plane; both are -32768 where the flow is unknown.

    Raises:
        InputError: A known value is beyond 32767 steps.
    """
    levels: Levels = np.empty((2, *flow.shape[:2]), np.int16)
    for top in range(0, len(flow), BAND):
        band = slice(top, top + BAND)
        with np.errstate(over="ignore"):  # becomes infinite, i.e. unknown, as it is beyond 1e9 px
            scaled = np.multiply(flow[band], np.float32(1 / step), order="C")
        np.rint(scaled, out=scaled)
        if not -LARGEST <= scaled.min() <= scaled.max() <= LARGEST:  # true for NaN
            unknown = ~known(flow[band])[..., np.newaxis]
            np.copyto(scaled, 0, where=unknown)
            if np.abs(scaled).max() > LARGEST:
                raise _out_of_range(flow, step)
            np.copyto(scaled, UNKNOWN, where=unknown)
        # As integers of 32 bits a vector is one item: several times as fast to take apart.
        vectors = scaled.astype("<i2").view("<i4")[..., 0]
        levels[0, band], levels[1, band] = vectors, vectors >> 16
    return levels


def flow_from_levels(levels: Levels, step: float) -> Flow:
    """Return the (H, W, 2) float32 flow of (2, H, W) levels, NaN where it is unknown."""
    flow = np.empty((*levels.shape[1:], 2), np.float32)
    np.multiply(np.moveaxis(levels, 0, -1), np.float32(step), out=flow)
    unknown = unknown_pixels(levels)
    if unknown.any():
        np.copyto(flow, np.nan, where=unknown[..., np.newaxis])
    return flow


def unknown_pixels(levels: Levels) -> Mask:
    """Return (H, W) bool: both levels of a pixel are -32768."""
    return np.asarray((levels[0] == UNKNOWN) & (levels[1] == UNKNOWN))


def _out_of_range(flow: Flow, step: float) -> InputError:
    """Return the error for known values that do not fit into 16 bits."""
    largest = float(np.abs(np.rint(flow[known(flow)] / np.float32(step))).max())
    message = (
        f"flow of up to {largest * step:.2f} px; a store with a step of {step_text(step)} px holds "
        f"at most {LARGEST * step:.2f}."
    )
    wider = step * 2.0 ** math.ceil(math.log2(largest / LARGEST))
    if is_step(wider):
        return InputError(
            f"{message} Write it with a step of {step_text(wider)} (of the command: --store-step)."
        )
    return InputError(f"{message} Mark these pixels as unknown (NaN).")
