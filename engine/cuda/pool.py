"""A pool of objects on a GPU, each lent to one caller at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from engine.cuda.device import Device
from engine.errors import BackendError


class Closable(Protocol):
    """An item of a `Pool`."""

    def close(self) -> None:
        """Free everything now, although the last caller may still refer to the item."""
        ...


Item = TypeVar("Item", bound=Closable)


class Pool(Generic[Item]):
    """Up to ``limit`` items, made when callers overlap. Further callers wait."""

    def __init__(self, device: Device, make: Callable[[], Item], *, limit: int) -> None:
        """Make no item yet."""
        self._device = device
        self._make: Callable[[], Item] | None = make
        self._limit = limit
        self._made = 0
        # Each with the caller's stream in which it may still be working; most recently used last.
        self._idle: list[tuple[int | None, Item]] = []
        self._changed = threading.Condition()

    @contextmanager
    def borrow(self, stream: int | None = None) -> Iterator[Item]:
        """Lend an item, with the device's context current.

        Prefers the most recently used idle item that has finished its work, or whose work is in
        ``stream`` too. So callers with different streams get different items.

        Args:
            stream: handle of the stream in which the item will still be working afterwards; None:
                its work will have finished.

        Raises:
            BackendError: the pool is closed.
        """
        with self._device.current():
            item = self._take(stream)
            try:
                yield item
            finally:
                with self._changed:
                    self._idle.append((stream, item))
                    self._changed.notify_all()

    def _take(self, stream: int | None) -> Item:
        with self._changed:
            self._changed.wait_for(
                lambda: self._idle or self._made < self._limit or self._make is None
            )
            if self._make is None:
                raise BackendError("this backend is closed; load the bundle again.")
            ready = [i for i, (left_in, _) in enumerate(self._idle) if left_in in (None, stream)]
            if not ready and self._made < self._limit:
                item = self._make()
                self._made += 1
                return item
            return self._idle.pop(ready[-1] if ready else 0)[1]

    def close(self) -> None:
        """Wait until all items are idle, then close them and drop ``make``. Idempotent."""
        with self._device.current(), self._changed:
            self._make = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._made)
            while self._idle:
                self._idle.pop()[1].close()
            self._made = 0
