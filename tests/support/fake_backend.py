"""A backend without a runtime."""

import threading

import numpy as np


class FakeBackend:
    """Returns zero flow; with ``blocking`` each ``run`` waits for ``proceed.release()``.

    ``entered`` is released once per call of ``run``; ``started``, ``most`` and ``closed`` count the
    calls, the largest number of concurrent calls, and the calls of ``close``.
    """

    name, device, runtime_version, arithmetic = "fake", "cpu", "1", "float32"
    profile = None

    def __init__(self, *, blocking=False):
        self.blocking = blocking
        self.proceed, self.entered = threading.Semaphore(0), threading.Semaphore(0)
        self.started = self.running = self.most = self.closed = 0
        self._lock = threading.Lock()

    def prepare(self, image):
        return image

    def run(self, first, second):
        with self._lock:
            self.started += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        assert not self.blocking or self.proceed.acquire(timeout=30)
        assert not self.closed
        with self._lock:
            self.running -= 1
        return np.zeros((*first.shape[:3], 2), np.float32)

    def device_ms(self):
        return None

    def close(self):
        self.closed += 1


def failing(first, second):
    """Raise as a runtime does, in place of ``run``."""
    raise RuntimeError("out of\n  memory.")
