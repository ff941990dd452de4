"""``flow extract`` without Ray."""

from collections.abc import Iterator, Sequence

import pytest

from engine.bulk import cluster
from engine.bulk.cluster import Resources
from engine.bulk.plan import Shard
from engine.bulk.worker import Done, Worker


def process_here(shards: Sequence[Shard], worker: Worker, resources: Resources) -> Iterator[Done]:
    """Process shards in this process, one after the other."""
    for shard in shards:
        yield from worker.process(shard)


def replace_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``flow extract`` compute in this process."""
    monkeypatch.setattr(cluster, "import_ray", lambda: None)
    monkeypatch.setattr(cluster, "process_all", process_here)
