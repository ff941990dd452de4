"""Iterate a source in a thread of its own, ahead of its consumer."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], *, ahead: int) -> Generator[Item, None, None]:
    """Yield the items in order; a thread takes up to ``ahead`` of them before they are asked for.

    Chained, each source runs in its own thread and waits for the slowest one, with a bounded
    number of items between them. The thread starts at the first ``next``, and ends when the
    iterator is exhausted, raises or is closed, after the item in progress; a source that is a
    generator is closed.

    Raises:
        Exception: Of the source, after the items before it.
    """
    source, end = iter(items), object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="flow-ahead")
    try:
        waiting = deque(pool.submit(next, source, end) for _ in range(ahead))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(source, Generator):
            source.close()
