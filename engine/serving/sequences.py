"""The frames that wait for the next one of their sequence."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.serving.errors import RequestError
from engine.serving.request import Sequence
from engine.types import Image


@dataclass
class _Last:
    frame: Image
    time: float


class Sequences:
    """The last frame of each open sequence; used by one thread.

    A client that leaves without an end costs one frame until the sequence expires.
    """

    def __init__(self, most: int, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a sequence.

        Args:
            most: sequences that are open at a time.
            idle: seconds without a frame after which a sequence is closed.
            clock: returns seconds.
        """
        self._most, self._idle, self._clock = most, idle, clock
        self._last: dict[int | str, _Last] = {}

    def __len__(self) -> int:
        """Return the number of open sequences."""
        self._expire()
        return len(self._last)

    def follow(self, sequence: Sequence, frame: Image) -> Image | None:
        """Keep a frame until the next one; return the one before it, None at the start.

        Args:
            sequence: of the frame.
            frame: (1, H, W, 3) uint8.

        Raises:
            RequestError: The sequence is not open, has frames of another size, or too many are
                open. Nothing changes then.
        """
        self._expire()
        before = None if sequence.start else self._open(sequence.id)
        if before is not None and before.shape != frame.shape:
            sizes = " and ".join(f"{it.shape[1]}x{it.shape[2]}" for it in (before, frame))
            raise RequestError(
                400,
                f"the last two frames of sequence {sequence.id!r} have the sizes {sizes}; expected "
                "the same. Start a sequence with sequence_start.",
            )
        if sequence.id not in self._last and len(self._last) >= self._most:
            raise RequestError(
                503,
                f"{self._most} sequences are open, the most at a time; end one with sequence_end, "
                f"or wait: each is closed after {self._idle:g} s without a frame.",
            )
        if sequence.end:
            self._last.pop(sequence.id, None)
        else:
            self._last.pop(sequence.id, None)  # to the end: ordered by time
            self._last[sequence.id] = _Last(frame, self._clock())
        return before

    def _open(self, name: int | str) -> Image:
        if name not in self._last:
            raise RequestError(
                400,
                f"sequence {name!r} is not open: it was not started, has ended, or had no frame "
                f"for {self._idle:g} s. Start it with sequence_start.",
            )
        return self._last[name].frame

    def _expire(self) -> None:
        oldest = self._clock() - self._idle
        for name, last in [*self._last.items()]:
            if last.time > oldest:
                return
            del self._last[name]
