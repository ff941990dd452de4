"""A function over a source of any length, side by side in threads, its results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items taken from the source per thread before a result is asked for: one that is computed, and one
# that waits, so that no thread does while the caller looks at a result.
LOOK_AHEAD = 2


def map_in_order(
    function: Callable[[int, Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """Yield ``function(index, item)`` of each item, in order, computed by ``threads`` threads.

    What the function or the source raises comes after the results of the items before it. The
    threads start with the first result that is asked for, and end when the iterator is exhausted,
    raises, is closed or collected; a call that has begun is waited for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="flow")
    futures = _futures(pool, function, items)
    try:
        pending = deque(islice(futures, LOOK_AHEAD * threads))
        while pending:
            result = pending.popleft().result()
            pending.extend(islice(futures, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _futures(
    pool: Executor, function: Callable[[int, Item], Result], items: Iterable[Item]
) -> Iterator[Future[Result]]:
    try:
        for index, item in enumerate(items):
            yield pool.submit(function, index, item)
    except Exception as error:  # the source's: it has its turn like any result
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed
