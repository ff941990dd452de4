"""Endless streams of training batches; a resumed run's goes on exactly where it was."""

from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from training.data.pairs import Pairs
from training.data.sets import FlyingChairs
from training.synthetic.render import SyntheticPairs


class SyntheticStream:
    """Synthetic batches over a pool of rendered pairs.

    Every so many steps ``fresh`` pairs are rendered in place of the oldest, so that rendering costs
    what the machine can afford: pairs are reused, under new augmentation each time. A GPU renders
    many in the time of one.

    Args:
        renderer: renders the pairs.
        pool: how many pairs to keep, at least; rounded up to a multiple of ``fresh``.
        fresh: how many to render at a time.
        every: steps from one time to the next.
        batch: pairs per step.
        seed: of everything drawn here.
        step: how many steps a resumed run has behind it.

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
        self.pool = Pairs(
            torch.empty(shape, dtype=torch.uint8, device=device),
            torch.empty(shape, dtype=torch.uint8, device=device),
            torch.empty((pool, 2, *shape[2:]), device=device),
            torch.empty((pool, 1, *shape[2:]), dtype=torch.bool, device=device),
        )
        first = -(-step // every)
        chunks = range(first, first + self.chunks)
        for chunk in tqdm(chunks, desc="rendering the pool", unit="chunk", disable=None):
            self._render(chunk)

    def _render(self, chunk: int) -> None:
        """Render chunk number ``chunk`` of the stream over the one that is ``chunks`` older."""
        start = chunk % self.chunks * self.fresh
        pairs = self.renderer.render(self.fresh, self.seed + chunk)
        for field in fields(Pairs):
            getattr(self.pool, field.name)[start : start + self.fresh] = getattr(pairs, field.name)

    def __iter__(self) -> Iterator[Pairs]:
        while True:
            if self.step % self.every == 0:
                self._render(self.step // self.every + self.chunks)
            choice = torch.Generator().manual_seed(self.seed + self.step)
            slots = torch.randperm(len(self.pool.flow), generator=choice)[: self.batch]
            slots = slots.to(self.renderer.device)
            self.step += 1
            yield Pairs(*(getattr(self.pool, field.name)[slots] for field in fields(Pairs)))


class _Batches:
    """Indices of the batches: every epoch in its own seeded order, the rest of it dropped."""

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
    """Shuffled batches of a data set of equally sized pairs, which has to fill at least one."""

    def __init__(self, dataset: FlyingChairs, *, batch: int, seed: int, step: int = 0) -> None:
        batches = _Batches(len(dataset), batch=batch, seed=seed, step=step)
        self.loader: DataLoader[tuple[Tensor, Tensor, Tensor]] = DataLoader(
            dataset, batch_sampler=batches, num_workers=2
        )

    def __iter__(self) -> Iterator[Pairs]:
        for image1, image2, flow in self.loader:
            # Real sets say nothing of occlusion: every pixel counts as visible.
            yield Pairs(image1, image2, flow, torch.zeros_like(flow[:, :1], dtype=torch.bool))
