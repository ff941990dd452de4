"""Shorten an input that shows a fault, for a person to look at."""

from collections.abc import Callable

_TRIES = 1000


def minimised(data: bytes, shows_it: Callable[[bytes], bool]) -> bytes:
    """Return a shorter input that shows the same fault.

    Parts are left out, the larger ones first, as long as the fault stays (Zeller's ddmin without
    its complements).

    Args:
        data: the input.
        shows_it: whether another input shows the fault.
    """
    tries, size = _TRIES, max(len(data) // 2, 1)
    while size and tries:
        start = 0
        while start < len(data) and tries:
            shorter = data[:start] + data[start + size :]
            tries -= 1
            if shows_it(shorter):
                data = shorter
            else:
                start += size
        size //= 2
    return data
