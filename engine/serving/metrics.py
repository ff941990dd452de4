"""What the server counts, as Prometheus reads it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Outcome:
    """The status of a request, once it is known."""

    status = 500


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        """Start from zero."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "flow_requests", "Inference requests.", ("model", "status"), registry=registry
        )
        self._seconds = Histogram(
            "flow_request_seconds",
            "Time from a request's headers to its answer.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.active = Gauge(
            "flow_requests_active", "Inference requests that are answered now.", registry=registry
        )
        self.sequences = Gauge("flow_sequences", "Open sequences.", registry=registry)
        self.batches = Histogram(
            "flow_batch_pairs", "Pairs in a batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )

    @contextmanager
    def request(self, model: str) -> Iterator[Outcome]:
        """Count the request that the block answers, and its time if it is answered with 200."""
        begin, outcome = time.perf_counter(), Outcome()
        self.active.inc()
        try:
            yield outcome
        finally:
            self.active.dec()
            self._requests.labels(model, str(outcome.status)).inc()
            if outcome.status == 200:
                self._seconds.labels(model).observe(time.perf_counter() - begin)

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)
