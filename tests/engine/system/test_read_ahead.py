"""Reading ahead: order, limit, errors, and the end of the thread."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.system.read_ahead import read_ahead


@given(st.lists(st.integers()), st.integers(1, 4))
def test_every_item_in_order(items, ahead):
    assert list(read_ahead(items, ahead=ahead)) == items


def test_the_source_runs_in_another_thread_and_no_further_than_the_limit():
    taken, waiting = [], threading.Semaphore(0)

    def source():
        for index in range(100):
            taken.append(threading.current_thread())
            waiting.release()
            yield index

    items = read_ahead(source(), ahead=3)
    assert taken == []
    assert next(items) == 0
    for _ in range(4):  # the one that was returned and three more
        assert waiting.acquire(timeout=30)
    assert not waiting.acquire(timeout=0.05)
    assert threading.current_thread() not in taken
    items.close()


def test_chained_sources_and_their_ends(new_threads):
    closed = []

    def count():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    first = read_ahead(count(), ahead=2)
    items = read_ahead((n * n for n in first), ahead=2)
    assert [next(items) for _ in range(3)] == [0, 1, 4]
    assert len(new_threads()) == 2
    items.close()
    first.close()
    assert closed == [True]
    assert new_threads() == []


def test_an_error_comes_after_the_items_before_it(new_threads):
    def source():
        yield 1
        yield 2
        raise OSError("broken")

    items = read_ahead(source(), ahead=4)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="broken"):
        next(items)
    assert new_threads() == []
