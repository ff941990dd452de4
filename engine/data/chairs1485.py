"""The 1485 pairs of Flying Chairs that a course on FlowNetS hands out, and their split.

The pairs are those in the folder, as the course packs them, in Flying Chairs' layout; no list of
their numbers is published. Its baseline (FlowNetS, batch 8, 20 epochs) has an EPE of 8.04 on the
"train-val set" and 7.0 on the test set, 165 further pairs in a folder of their own (read it as
``chairs:DIR``). Source: github.com/tsjadambaa/cv_group6, branch cv_lab6: README.md, CV_lr6.ipynb.

The split is that of the notebook: the pairs, sorted by name, are divided by two calls of
``torch.utils.data.random_split`` with seed 42, first into 90 % and 10 % (``test``, 149 pairs), then
the 90 % into 80 % (``train``, 1068 pairs) and 20 % (``validation``, 268 pairs).
"""

from pathlib import Path

import numpy as np

from engine.data.chairs import find_pairs
from engine.data.data_set import DataSet
from engine.data.files import PairFiles

_SEED = 42


def _find_pairs(folder: Path, split: str | None, _: str | None) -> list[PairFiles]:
    pairs = find_pairs(folder)
    if split is None:
        return pairs
    kept, held_out = _divided(list(range(len(pairs))), 0.9)
    train, validation = _divided(kept, 0.8)
    chosen = {"train": train, "validation": validation, "test": held_out}[split]
    return [pairs[index] for index in chosen]


def _divided(items: list[int], share: float) -> tuple[list[int], list[int]]:
    """Divide as random_split does with a new generator."""
    first = int(len(items) * share)
    order = [items[index] for index in _permutation(len(items), _SEED)]
    return order[:first], order[first:]


def _permutation(count: int, seed: int) -> list[int]:
    """Return ``torch.randperm(count)`` of a CPU generator with this seed.

    Both PyTorch and NumPy draw 32 bits of a Mersenne Twister, equally seeded; PyTorch swaps item i
    with the one at i + draw % (count - i) (aten/src/ATen/native/TensorFactories.cpp).
    """
    order = list(range(count))
    draws = np.random.RandomState(seed).randint(0, 1 << 32, size=max(count - 1, 0), dtype=np.uint32)
    for i, draw in enumerate(draws.tolist()):
        j = i + draw % (count - i)
        order[i], order[j] = order[j], order[i]
    return order


CHAIRS1485 = DataSet(
    "chairs1485",
    _find_pairs,
    layout="00001_img1.ppm, 00001_img2.ppm and 00001_flow.flo",
    splits=("train", "validation", "test"),
    evaluated="test",
)
