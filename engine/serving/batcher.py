"""Dynamic batching: pairs of one size that arrive together are computed as one batch."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from engine.errors import BackendError
from engine.types import Flow, Image


@dataclass(frozen=True, eq=False)
class _Job:
    first: Image
    second: Image
    arrival: float
    flow: "Future[Flow]" = field(default_factory=Future)


class Batcher:
    """Computes pairs in threads of its own, in the order of arrival, until `close`; thread-safe."""

    def __init__(
        self,
        infer: Callable[[Image, Image], Flow],
        *,
        most: int,
        window: float,
        workers: int = 1,
        on_batch: Callable[[int], None] = lambda pairs: None,
    ) -> None:
        """Start the threads.

        Args:
            infer: computes the flow of two batches, (N, H, W, 3) uint8.
            most: pairs in a batch.
            window: seconds that a pair waits for others.
            workers: batches that are computed at once.
            on_batch: called with the number of pairs of each batch.

        Raises:
            RuntimeError: No more threads start; those that did are ended.
        """
        self._infer, self._most, self._window, self._on_batch = infer, most, window, on_batch
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._closed = False
        self._threads: list[threading.Thread] = []
        try:
            for index in range(workers):
                name = f"flow-batch-{index}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.close()
            raise

    def submit(self, first: Image, second: Image) -> "Future[Flow]":
        """Queue pairs, (N, H, W, 3) uint8 twice; return their flow, (N, H, W, 2), to come.

        A future that is cancelled before its turn costs nothing.

        Raises:
            BackendError: The batcher is closed.
        """
        job = _Job(first, second, time.monotonic())
        with self._changed:
            if self._closed:
                raise BackendError("the server is closing; ask another one.")
            # Cancelled ones would keep their images until a thread is free.
            self._waiting = deque(it for it in self._waiting if not it.flow.cancelled())
            self._waiting.append(job)
            self._changed.notify_all()
        return job.flow

    def close(self) -> None:
        """Compute what is queued, and end the threads; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while jobs := self._next_batch():
            jobs = [job for job in jobs if job.flow.set_running_or_notify_cancel()]
            if jobs:
                self._compute(jobs)

    def _next_batch(self) -> list[_Job]:
        """Wait for a pair, then for others of its size; an empty list: there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            batch = [self._waiting.popleft()]
            end = batch[0].arrival + self._window
            while True:
                self._fill(batch)
                left = end - time.monotonic()
                if _pairs(batch) >= self._most or left <= 0 or self._closed:
                    return batch
                self._changed.wait(left)

    def _fill(self, batch: list[_Job]) -> None:
        for job in [*self._waiting]:
            same = job.first.shape[1:] == batch[0].first.shape[1:]
            if same and _pairs([*batch, job]) <= self._most:
                self._waiting.remove(job)
                batch.append(job)

    def _compute(self, jobs: list[_Job]) -> None:
        self._on_batch(_pairs(jobs))
        try:
            flows = self._infer(*_joined(jobs))
        except Exception as error:  # of any runtime; a thread that ends would answer nobody
            if len(jobs) > 1:
                for job in jobs:  # one may be at fault, or all together need too much memory
                    self._compute([job])
                return
            for job in jobs:
                job.flow.set_exception(error)
            return
        ends = np.cumsum([len(job.first) for job in jobs])
        for job, flow in zip(jobs, np.split(flows, ends[:-1]), strict=True):
            job.flow.set_result(flow)


def _pairs(jobs: list[_Job]) -> int:
    return sum(len(job.first) for job in jobs)


def _joined(jobs: list[_Job]) -> tuple[Image, Image]:
    if len(jobs) == 1:
        return jobs[0].first, jobs[0].second
    return (
        np.concatenate([job.first for job in jobs]),
        np.concatenate([job.second for job in jobs]),
    )
