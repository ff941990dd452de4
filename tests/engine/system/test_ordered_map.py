"""Several threads, results in order: the basis of `FlowEngine.infer_many`."""

import gc
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.system.ordered_map import LOOK_AHEAD, map_in_order


class Source:
    """Endless numbers from 0; ``taken`` counts the numbers taken."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        while True:
            self.taken += 1
            yield self.taken - 1


@pytest.fixture(autouse=True)
def no_thread_is_left(new_threads):
    yield
    assert new_threads() == []


def tenfold(index, item):
    assert index == item
    return 10 * item


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 12), threads=st.integers(1, 4))
def test_every_result_in_order(count, threads):
    results = list(map_in_order(lambda index, item: (index, item), "x" * count, threads=threads))
    assert results == [(index, "x") for index in range(count)]


def test_late_results_keep_their_order():
    second_is_done = threading.Event()

    def wait(index, item):
        if index == 0:
            assert second_is_done.wait(30)
        else:
            second_is_done.set()
        return item

    assert list(map_in_order(wait, "ab", threads=2)) == ["a", "b"]


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_concurrent_calls_as_threads(threads):
    meeting = threading.Barrier(threads, timeout=30)  # breaks unless all threads arrive
    running = itertools.count()

    def meet(index, item):
        meeting.wait()
        return next(running)

    assert len(list(map_in_order(meet, range(3 * threads), threads=threads))) == 3 * threads


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_endless_source_is_read_as_needed(threads, new_threads):
    source = Source()
    results = map_in_order(tenfold, source, threads=threads)
    assert (source.taken, new_threads()) == (0, [])  # nothing before the first next()
    for number in range(20):
        assert next(results) == 10 * number
        assert source.taken == number + 1 + LOOK_AHEAD * threads
    results.close()


def test_an_error_of_the_function_comes_after_earlier_results(new_threads):
    def fail_at_two(index, item):
        if index == 2:
            raise KeyError(item)
        return item

    source = Source()
    results = map_in_order(fail_at_two, source, threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="2"):
        next(results)
    assert new_threads() == []
    assert list(results) == []


def test_an_error_of_the_source_comes_after_earlier_results():
    def source():
        yield from range(3)
        raise OSError("the disk is gone")

    results = map_in_order(tenfold, source(), threads=2)
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


@pytest.mark.parametrize("how", ["close", "drop"])
def test_threads_end_with_the_iterator(how, new_threads, monkeypatch):
    entered, proceed = threading.Semaphore(0), threading.Event()
    calls = []

    class Pool(ThreadPoolExecutor):
        """Lets the calls in progress finish once the waiting ones are cancelled."""

        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            proceed.set()
            super().shutdown(wait)

    monkeypatch.setattr("engine.system.ordered_map.ThreadPoolExecutor", Pool)

    def call(index, item):
        calls.append(index)
        entered.release()
        assert index == 0 or proceed.wait(30)

    results = map_in_order(call, Source(), threads=2)
    next(results)
    for _ in range(3):
        assert entered.acquire(timeout=30)
    if how == "close":
        results.close()
    else:
        del results
        gc.collect()
    assert new_threads() == []
    assert sorted(calls) == [0, 1, 2]


def test_no_threads_before_the_first_result(new_threads):
    results = map_in_order(tenfold, Source(), threads=2)
    assert new_threads() == []
    results.close()
    assert new_threads() == []
