"""What a campaign has done so far, on stderr: on one line of a terminal, else a line a minute."""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait

from tests.fuzz.campaign import Result


def show_progress(results: Sequence[Result], running: Sequence[Future], seconds: float) -> None:
    """Show inputs, inputs per second, faults and the time left until everything has ended.

    Args:
        results: of all readers, as they are filled in.
        running: the work.
        seconds: of the clock that it takes in all.
    """
    terminal = sys.stderr.isatty()
    start, end = time.monotonic(), "\r" if terminal else "\n"
    while wait(running, timeout=1 if terminal else 60).not_done:
        line = progress_line(results, time.monotonic() - start, seconds)
        print(f"{line:<79}", end=end, file=sys.stderr, flush=True)
    if terminal:
        print(" " * 79, end=end, file=sys.stderr)


def progress_line(results: Sequence[Result], passed: float, seconds: float) -> str:
    """Return the line; see `show_progress`.

    Args:
        results: of all readers.
        passed: seconds since the start, more than 0.
        seconds: of the clock that it takes in all.
    """
    inputs = sum(result.inputs for result in results)
    faults = sum(result.faults.total() for result in results)
    minutes, left = divmod(round(max(0, seconds - passed)), 60)
    return (
        f"{inputs:,} inputs, {inputs / passed:,.0f} inputs/s, {faults:,} faults, "
        f"{minutes}:{left:02d} left"
    )
