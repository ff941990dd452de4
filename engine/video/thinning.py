"""Which frames of a video are used when not all are wanted."""

import math
from fractions import Fraction

from engine.errors import InputError

# How much earlier than its multiple a frame may be, relative to the time between two: cameras and
# containers round times.
_EARLY = Fraction(1, 4)


class Thinning:
    """Keeps at most ``fps`` frames per second, and every ``stride``-th of those.

    Times stay as they are: a frame is used or left out, never moved.
    """

    def __init__(self, *, stride: int = 1, fps: float | None = None) -> None:
        """Start a sequence.

        Args:
            stride: 1 keeps every frame, 2 every second one, and so on.
            fps: largest number of frames per second; None: no limit. Of the frames between two
                multiples of ``1 / fps`` after the first frame, the first is kept.

        Raises:
            InputError: ``stride`` is below 1, or ``fps`` is not a positive number.
        """
        if stride < 1:
            raise InputError(f"stride is {stride}; expected at least 1, which keeps every frame.")
        if fps is not None and not 0 < fps < math.inf:
            raise InputError(f"fps is {fps}; expected a positive number of frames per second.")
        self._stride = stride
        self._fps = None if fps is None else Fraction(str(fps))
        self._begin: Fraction | None = None
        self._slot = -1
        self._count = 0

    def keeps(self, time: Fraction) -> bool:
        """Return whether the next frame is used; call it for every frame, in order."""
        if self._begin is None:
            self._begin = time
        if self._fps is not None:
            slot = math.floor((time - self._begin) * self._fps + _EARLY)
            if slot == self._slot:
                return False
            self._slot = slot
        self._count += 1
        return (self._count - 1) % self._stride == 0

    @property
    def description(self) -> str:
        """What is kept, for messages; empty if it is every frame."""
        fps = "" if self._fps is None else f" at {float(self._fps):g} frames per second"
        return fps + (f" with a stride of {self._stride}" if self._stride > 1 else "")

    def rate(self, rate: Fraction) -> Fraction:
        """Return the number of frames per second that are left of ``rate``."""
        return (rate if self._fps is None else min(rate, self._fps)) / self._stride
