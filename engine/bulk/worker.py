"""What a process does with the shards that it is given: it opens the engine once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.bulk.extraction import SHARDS
from engine.bulk.formats import ARCHIVED, Settings, extract_clip
from engine.bulk.plan import Clip, Shard
from engine.bulk.shard import Row, compute_shard, finished_rows
from engine.engine import FlowEngine


@dataclass(frozen=True)
class Done:
    """A clip whose row is known.

    Attributes:
        shard: number of its shard.
        clip: number of the clip in the extraction.
        row: what is known.
        computed: whether this run computed it; otherwise an earlier one did.
    """

    shard: int
    clip: int
    row: Row
    computed: bool


@dataclass
class Worker:
    """Checks or computes shards. It can be pickled before it has computed something.

    Attributes:
        folder: of the extraction.
        settings: what to do with a clip.
        open_engine: called at most once, before the first clip that is computed.
        run: names this run of the command.
        retry: whether shards with clips that could not be read are computed again.
    """

    folder: Path
    settings: Settings
    open_engine: Callable[[], FlowEngine]
    run: str
    retry: bool = False
    _engine: FlowEngine | None = field(default=None, repr=False)

    def process(self, shard: Shard) -> Iterator[Done]:
        """Yield the clips of a shard, each once its row is known; then the shard is finished.

        Raises:
            EngineError: The engine cannot be opened, or nothing can read such clips.
            OSError: A file cannot be written.
        """
        folder = self.folder / SHARDS
        rows = finished_rows(folder, shard)
        if rows is not None and not (self.retry and any(row["status"] != "ok" for row in rows)):
            for number, row in enumerate(rows, shard.first):
                yield Done(shard.number, number, row, computed=False)
            return
        archived = self.settings.format in ARCHIVED
        computed = compute_shard(folder, shard, self._compute, run=self.run, archived=archived)
        for number, row in enumerate(computed, shard.first):
            yield Done(shard.number, number, row, computed=True)

    def _compute(self, number: int, clip: Clip, add: Callable[[str, bytes], None]) -> Row:
        if self._engine is None:
            self._engine = self.open_engine()
        return extract_clip(number, clip, add, settings=self.settings, flow_engine=self._engine)
