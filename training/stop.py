"""Requests to stop a run: Ctrl-C (SIGINT), and SIGTERM, which schedulers and containers send."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Note the first signal, for the run to end after its step; a second one acts as always.

    Yields:
        Returns the signal that was received, None so far. In a thread other than the main one,
        which Python sends no signals, it is always None.
    """
    received: list[int] = []
    before: dict[signal.Signals, Any] = {}
    wakeup = -1

    def restore() -> None:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        restore()
        # Not print, which another print may be in the middle of.
        os.write(2, b"\nstopping after this step; interrupt again to stop at once\n")

    if threading.current_thread() is threading.main_thread():
        # A shell makes what it starts in the background ignore Ctrl-C.
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in heard}
        # `engine.system.command` would end the process if its own handler is not called.
        wakeup = signal.set_wakeup_fd(-1) if before else -1
    try:
        yield lambda: received[0] if received else None
    finally:
        if before:
            restore()
