"""When a shared resource is released: after ``close`` and after the last call that uses it."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from engine.errors import BackendError


class Lifetime:
    """Counts the running calls of all threads; thread-safe."""

    def __init__(self, release: Callable[[], None]) -> None:
        """Set the function that frees the resource; it is called once."""
        self._release = release
        self._lock = threading.Lock()
        self._borrowers = 0
        self._closed = False

    def borrow(self) -> None:
        """Keep the resource until ``give_back``.

        Raises:
            BackendError: The resource is closed.
        """
        with self._lock:
            if self._closed:
                raise BackendError("this engine is closed. Load another: engine.load(bundle).")
            self._borrowers += 1

    def give_back(self) -> None:
        """End one ``borrow``; release the resource if it is closed and this was the last one."""
        with self._lock:
            self._borrowers -= 1
            last = self._closed and not self._borrowers
        if last:
            self._release()

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[None]:
        """Keep the resource inside the ``with`` block."""
        self.borrow()
        try:
            yield
        finally:
            self.give_back()

    def close(self) -> None:
        """Refuse new borrowers and release the resource once it is unused; does not wait."""
        with self._lock:
            idle = not self._closed and not self._borrowers
            self._closed = True
        if idle:
            self._release()
