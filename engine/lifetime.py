"""When a shared resource is released: after ``close`` and after the last call that uses it.

A daemon thread that returns from native code after the end of the interpreter aborts the process
(https://docs.python.org/3/c-api/init.html#cautions-regarding-runtime-finalization). The end of the
interpreter therefore waits for the running calls, and later calls of other threads never return.
"""

import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator

from engine.errors import BackendError
from engine.system import fork

_all: "weakref.WeakSet[Lifetime]" = weakref.WeakSet()


class Lifetime:
    """Counts the running calls of all threads; thread-safe."""

    def __init__(self, release: Callable[[], None]) -> None:
        """Set the function that frees the resource; it is called once."""
        self._release = release
        self._unused = threading.Condition()
        self._borrowers = 0
        self._closed = False
        self._ending: threading.Thread | None = None  # the thread that ends the interpreter
        _all.add(self)
        fork.register(self)

    def borrow(self) -> None:
        """Keep the resource until ``give_back``.

        Raises:
            BackendError: The resource is closed.
        """
        with self._unused:
            if self._closed:
                raise BackendError("this engine is closed. Load another: engine.load(bundle).")
            stopped = self._ending not in (None, threading.current_thread())
            self._borrowers += not stopped
        if stopped:
            threading.Event().wait()

    def give_back(self) -> None:
        """End one ``borrow``; release the resource if it is closed and this was the last one."""
        with self._unused:
            self._borrowers -= 1
            last = self._closed and not self._borrowers
            self._unused.notify_all()
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
        with self._unused:
            idle = not self._closed and not self._borrowers
            self._closed = True
        if idle:
            self._release()

    def end(self) -> None:
        """Stop other threads at their next ``borrow``, and wait for those that have borrowed."""
        with self._unused:
            self._ending = threading.current_thread()
            self._unused.wait_for(lambda: not self._borrowers)

    def after_fork(self) -> None:
        """See ``fork.Forked``; the threads that had borrowed do not exist here."""
        self._unused, self._borrowers = threading.Condition(), 0


@atexit.register
def _end_all() -> None:
    for lifetime in list(_all):
        lifetime.end()
