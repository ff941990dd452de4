"""One printed line per step, with what came out and the seconds it took."""

import contextlib
import sys
import threading
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


class Step:
    """A step in progress; ``result`` becomes its line."""

    def __init__(self) -> None:
        self.result = ""
        self.progress = ""

    def counted(self, items: Collection[_Item]) -> Iterator[_Item]:
        """Iterate; on a terminal the line counts along."""
        for index, item in enumerate(items):
            self.progress = f"{index} of {len(items)}, "
            yield item
        self.progress = ""


@contextlib.contextmanager
def step(name: str) -> Iterator[Step]:
    """Time a step and print its line; on a terminal the seconds tick while it runs."""
    current = Step()
    start = time.perf_counter()
    done = threading.Event()
    ticker = threading.Thread(target=_tick, args=(name, current, start, done), daemon=True)
    if sys.stdout.isatty():
        ticker.start()
    try:
        yield current
    finally:
        done.set()
        if ticker.is_alive():
            ticker.join()
    print(f"{name:<10} {current.result}  ({time.perf_counter() - start:.1f} s)", flush=True)


def _tick(name: str, current: Step, start: float, done: threading.Event) -> None:
    while not done.wait(0.5):
        seconds = time.perf_counter() - start
        print(f"\033[2K\r{name:<10} ... {current.progress}{seconds:.0f} s", end="", flush=True)
    print("\033[2K", end="\r", flush=True)
