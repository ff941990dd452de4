"""Batches, with functions in place of an engine."""

import contextlib
import gc
import threading
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest

from engine.errors import BackendError
from engine.serving.batcher import Batcher


def pairs(level, count=1, width=2):
    first = np.full((count, 1, width, 3), level, np.uint8)
    return first, first + 1


class Infer:
    """Returns the levels of both images as flow; each call waits for ``proceed``."""

    def __init__(self):
        self.batches, self.entered = [], threading.Semaphore(0)
        self.proceed = threading.Semaphore(0)

    def __call__(self, first, second):
        self.batches.append(first.shape[:3])
        self.entered.release()
        assert self.proceed.acquire(timeout=30)
        if (first == 13).any():
            raise BackendError("thirteen.")
        return np.stack([first[..., 0], second[..., 0]], axis=-1).astype(np.float32)


@pytest.fixture
def infer():
    return Infer()


@pytest.fixture
def batcher(infer):
    with contextlib.closing(Batcher(infer, most=4, window=0)) as batcher:
        yield batcher
        for _ in range(20):
            infer.proceed.release()


def busy(batcher, infer):
    """Occupy the thread, so that what follows is queued."""
    future = batcher.submit(*pairs(0))
    assert infer.entered.acquire(timeout=30)
    return future


def test_pairs_of_one_size_are_one_batch(batcher, infer):
    busy(batcher, infer)
    futures = [batcher.submit(*pairs(level)) for level in (1, 2)]
    wide = batcher.submit(*pairs(3, width=5))
    futures += [batcher.submit(*pairs(4, count=2)), batcher.submit(*pairs(6))]
    for _ in range(20):
        infer.proceed.release()
    levels = [future.result(30)[:, 0, 0].tolist() for future in futures]
    assert levels == [[[1, 2]], [[2, 3]], [[4, 5], [4, 5]], [[6, 7]]]
    assert wide.result(30).shape == (1, 1, 5, 2)
    assert infer.batches == [(1, 1, 2), (4, 1, 2), (1, 1, 5), (1, 1, 2)]


def test_the_window_ends_early_when_the_batch_is_full(infer):
    infer.proceed.release()
    with contextlib.closing(Batcher(infer, most=2, window=3600)) as batcher:
        futures = [batcher.submit(*pairs(level)) for level in (1, 2)]
        assert [future.result(30)[0, 0, 0, 0] for future in futures] == [1, 2]
    assert infer.batches == [(2, 1, 2)]


def test_one_that_fails_does_not_fail_the_others(batcher, infer):
    busy(batcher, infer)
    futures = [batcher.submit(*pairs(level)) for level in (12, 13, 14)]
    for _ in range(20):
        infer.proceed.release()
    assert futures[0].result(30)[0, 0, 0, 0] == 12
    with pytest.raises(BackendError, match="thirteen"):
        futures[1].result(30)
    assert futures[2].result(30)[0, 0, 0, 0] == 14


def test_any_exception_is_an_answer_and_the_thread_goes_on():
    def infer(first, second):
        if first[0, 0, 0, 0]:
            raise MemoryError("no more")
        return first[..., :2].astype(np.float32)

    with contextlib.closing(Batcher(infer, most=4, window=0)) as batcher:
        with pytest.raises(MemoryError, match="no more"):
            batcher.submit(*pairs(1)).result(30)
        assert batcher.submit(*pairs(0)).result(30).shape == (1, 1, 2, 2)


def test_cancelled_pairs_are_not_computed(batcher, infer):
    busy(batcher, infer)
    futures = [batcher.submit(*pairs(level)) for level in (1, 2)]
    assert futures[0].cancel()
    for _ in range(20):
        infer.proceed.release()
    assert futures[1].result(30)[0, 0, 0, 0] == 2
    with pytest.raises(CancelledError):
        futures[0].result(30)
    assert infer.batches == [(1, 1, 2), (1, 1, 2)]


def test_cancelled_pairs_are_not_kept(batcher, infer):
    busy(batcher, infer)
    images = pairs(1)
    kept = weakref.ref(images[0])
    future = batcher.submit(*images)
    del images
    assert future.cancel()
    del future
    batcher.submit(*pairs(2))
    gc.collect()
    assert kept() is None


def test_a_batch_that_needs_too_much_memory_is_computed_one_by_one():
    entered, proceed = threading.Event(), threading.Event()

    def infer(first, second):
        entered.set()
        assert proceed.wait(30)
        if len(first) > 1:
            raise MemoryError
        return first[..., :2].astype(np.float32)

    with contextlib.closing(Batcher(infer, most=4, window=0)) as batcher:
        futures = [batcher.submit(*pairs(0))]
        assert entered.wait(30)  # what follows is queued
        futures += [batcher.submit(*pairs(level)) for level in (1, 2)]
        proceed.set()
        assert [future.result(30)[0, 0, 0, 0] for future in futures] == [0, 1, 2]


def test_close_ends_all_threads(infer, new_threads):
    batcher = Batcher(infer, most=1, window=0, workers=3)
    assert len(new_threads()) == 3
    batcher.close()
    batcher.close()
    assert new_threads() == []


def test_threads_end_if_one_of_them_does_not_start(infer, new_threads, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "flow-batch-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Batcher(infer, most=1, window=0, workers=3)
    assert new_threads() == []


def test_close_computes_what_is_queued(infer):
    batcher = Batcher(infer, most=1, window=0)
    futures = [batcher.submit(*pairs(level)) for level in range(3)]
    for _ in range(3):
        infer.proceed.release()
    batcher.close()
    assert [future.result(0)[0, 0, 0, 0] for future in futures] == [0, 1, 2]
    with pytest.raises(BackendError, match="the server is closing"):
        batcher.submit(*pairs(1))
