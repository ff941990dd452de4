"""Apply a function to an iterable in several threads, with the results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items taken from the source per thread ahead of the results: one in progress and one waiting, so
# that no thread is idle while the caller processes a result.
LOOK_AHEAD = 2


def map_in_order(
    function: Callable[[int, Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """Yield ``function(index, item)`` for each item, in order, computed by ``threads`` threads.

    The source may be endless. Threads start at the first ``next``, and end when the iterator is
    exhausted, raises, is closed or is collected; calls in progress finish first.

    Args:
        function: called with the index and the item.
        items: the source.
        threads: number of threads.

    Raises:
        Exception: of ``function`` or of the source, after the results of the items before it.
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
    except Exception as error:  # of the source; raised after the results before it
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed
