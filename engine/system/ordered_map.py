"""Apply a function to an iterable in several threads, with the results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import ParamSpec, TypeVar

from engine.errors import BackendError, one_line

Arguments = ParamSpec("Arguments")
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
        BackendError: no thread starts, or the iterator has been begun before a fork.
        Exception: of ``function`` or of the source, after the results of the items before it.
    """
    pool, process = ThreadPoolExecutor(threads, thread_name_prefix="flow"), os.getpid()
    futures = _futures(pool, function, items)
    try:
        pending = deque(islice(futures, LOOK_AHEAD * threads))
        while pending:
            check_process(process)
            result = pending.popleft().result()
            pending.extend(islice(futures, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def check_process(begun_in: int) -> None:
    """Raise ``BackendError`` unless this process has this id: iterators do not survive a fork."""
    if begun_in != os.getpid():
        raise BackendError(
            "the iterator was begun by the parent of this process, before a fork; its threads are "
            "not here. Begin another one."
        )


def submit(
    pool: Executor,
    function: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Future[Result]:
    """Start ``function`` in a thread of the pool.

    Raises:
        BackendError: no thread starts, for instance after the main thread has ended.
    """
    try:
        return pool.submit(function, *arguments, **named)
    except RuntimeError as error:
        raise BackendError(
            f"no thread starts: {one_line(error)}. Call infer, which needs none; functions that "
            "atexit calls have no threads."
        ) from error


def _futures(
    pool: Executor, function: Callable[[int, Item], Result], items: Iterable[Item]
) -> Iterator[Future[Result]]:
    try:
        for index, item in enumerate(items):
            yield submit(pool, function, index, item)
    except Exception as error:  # of the source; raised after the results before it
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed
