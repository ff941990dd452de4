"""Endless streams of training batches; a resumed run continues with the next batch."""

from collections.abc import Iterator
from dataclasses import fields

import torch

from engine.system.ordered_map import map_in_order
from engine.system.progress import track
from training.data.batch import PairBatch
from training.data.sets import PairDataset
from training.synthetic.render import SyntheticPairs

_THREADS = 2  # that read a data set


class SyntheticStream:
    """Synthetic batches over a pool of rendered pairs.

    Every ``every`` steps, ``fresh`` newly rendered pairs replace the oldest. Pairs are reused, each
    time with new augmentation, so that rendering takes only part of the time. A GPU renders many
    pairs in the time of one.

    Args:
        renderer: renders the pairs.
        pool: least number of pairs kept in memory, rounded up to a multiple of ``fresh``.
        fresh: pairs rendered at a time.
        every: steps between renderings.
        batch: pairs per step.
        seed: of pairs and their order.
        step: first step, for a resumed run.

    Raises:
        ValueError: the pool is smaller than a batch.
    """

    def __init__(
        self,
        renderer: SyntheticPairs,
        *,
        pool: int,
        fresh: int,
        every: int = 1,
        batch: int,
        seed: int,
        step: int = 0,
    ) -> None:
        if pool < batch:
            raise ValueError(f"a pool of {pool} pairs does not fill a batch of {batch}")
        self.renderer, self.fresh, self.batch, self.seed = renderer, fresh, batch, seed
        self.every, self.step = every, step
        self.chunks = -(-pool // fresh)
        pool = self.chunks * fresh
        shape = (pool, 3, renderer.height, renderer.width)
        device = renderer.device
        self.pool = PairBatch(
            torch.empty(shape, dtype=torch.uint8, device=device),
            torch.empty(shape, dtype=torch.uint8, device=device),
            torch.empty((pool, 2, *shape[2:]), device=device),
            torch.empty((pool, 1, *shape[2:]), dtype=torch.bool, device=device),
        )
        first = -(-step // every)
        for chunk in track(range(first, first + self.chunks), "rendering the pool"):
            self._render(chunk)

    def _render(self, chunk: int) -> None:
        """Render chunk number ``chunk`` of the stream over the one that is ``chunks`` older."""
        start = chunk % self.chunks * self.fresh
        pairs = self.renderer.render(self.fresh, self.seed + chunk)
        for field in fields(PairBatch):
            getattr(self.pool, field.name)[start : start + self.fresh] = getattr(pairs, field.name)

    def __iter__(self) -> Iterator[PairBatch]:
        while True:
            if self.step % self.every == 0:
                self._render(self.step // self.every + self.chunks)
            choice = torch.Generator().manual_seed(self.seed + self.step)
            slots = torch.randperm(len(self.pool.flow), generator=choice)[: self.batch]
            slots = slots.to(self.renderer.device)
            self.step += 1
            yield PairBatch(*(getattr(self.pool, field.name)[slots] for field in fields(PairBatch)))


class _Batches:
    """Indices of the batches: each epoch in its own seeded order, without a last partial batch."""

    def __init__(self, count: int, *, batch: int, seed: int, step: int) -> None:
        self.count, self.batch, self.seed, self.step = count, batch, seed, step

    def __iter__(self) -> Iterator[list[int]]:
        per_epoch = self.count // self.batch
        step = self.step
        while True:
            epoch, position = divmod(step, per_epoch)
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order = torch.randperm(self.count, generator=generator).tolist()
            for start in range(position * self.batch, per_epoch * self.batch, self.batch):
                yield order[start : start + self.batch]
                step += 1


class DatasetStream:
    """Shuffled batches of a data set of at least one batch, of pairs of one size.

    Threads read them: decoders release Python's lock, and worker processes would need shared
    memory, of which containers have little (64 MB in Docker).
    """

    def __init__(self, dataset: PairDataset, *, batch: int, seed: int, step: int = 0) -> None:
        self.dataset = dataset
        self.batches = _Batches(len(dataset), batch=batch, seed=seed, step=step)

    def __iter__(self) -> Iterator[PairBatch]:
        return map_in_order(self._read, self.batches, threads=_THREADS)

    def _read(self, _: int, indices: list[int]) -> PairBatch:
        pairs = zip(*(self.dataset[index] for index in indices), strict=True)
        return PairBatch.all_visible(*map(torch.stack, pairs))
