"""How fast an extraction is, and how long it takes."""

import time
from collections.abc import Callable, Sequence

from engine.bulk.plan import Shard
from engine.bulk.worker import Done

# Share of the bytes that tells how long the others take: the first clips wait for the engine.
_ENOUGH = 0.005


class Rate:
    """Counts clips; the time that is left is estimated from their sizes, as some are long."""

    def __init__(
        self, plan: Sequence[Shard], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start now."""
        self._sizes = [clip.size for shard in plan for clip in shard.clips]
        self._total = self._left = sum(self._sizes)
        self._clock, self._start = clock, clock()
        self.clips = self.computed = 0
        self._bytes = 0

    def add(self, done: Done) -> None:
        """Count a clip; those of an earlier run say nothing about the speed."""
        self.clips += 1
        self._left -= self._sizes[done.clip]
        if done.computed:
            self.computed += 1
            self._bytes += self._sizes[done.clip]

    def clips_per_second(self) -> float:
        """Return the rate of the clips that were computed."""
        return self.computed / max(self._clock() - self._start, 1e-9)

    def seconds_left(self) -> float | None:
        """Return the time for the clips that are left; None as long as it cannot be told."""
        if self._bytes < max(1, _ENOUGH * self._total):
            return None
        return self._left * (self._clock() - self._start) / self._bytes

    def __str__(self) -> str:
        """Return the rate, and the time that is left if it is known."""
        left = self.seconds_left()
        ending = "" if left is None else f", {_duration(left)} left"
        return f"{self.clips_per_second():.2f} clips/s{ending}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
