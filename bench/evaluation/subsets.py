"""What is evaluated: the pairs of each data set, split and pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.sources import DATA_SETS, parse_source, spread
from engine.images.padding import PaddingMode
from engine.system.argument_parser import UsageError


@dataclass(frozen=True)
class Subset:
    """The pairs of one split and pass of a data set.

    Attributes:
        data: name of the data set.
        split: None: all pairs with a published flow.
        pass_name: None: the data set has no passes.
        padding: of the images.
        pairs: those to evaluate.
        available: number of pairs in the split.
    """

    data: str
    split: str | None
    pass_name: str | None
    padding: PaddingMode
    pairs: tuple[PairFiles, ...]
    available: int

    @property
    def title(self) -> str:
        """For example ``sintel clean (training)``."""
        name = " ".join(filter(None, (self.data, self.pass_name)))
        return f"{name} ({self.split})" if self.split else name

    def to_json(self) -> dict[str, Any]:
        """Return what identifies the subset in results."""
        return {
            "data": self.data,
            "split": self.split,
            "pass": self.pass_name,
            "padding": self.padding,
            "pairs": len(self.pairs),
            "available": self.available,
        }


def find_subsets(
    sources: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    passes: Sequence[str] | None = None,
    padding: PaddingMode | None = None,
    limit: int | None = None,
) -> list[Subset]:
    """Find the pairs of each source, split and pass.

    Args:
        sources: ``NAME:DIR`` or ``DIR``, see `engine.data.sources.find_source`.
        splits: of the data sets that have splits; None: the one that papers report.
        passes: of the data sets that have passes; None: the first.
        padding: None: as each data set's protocol does.
        limit: largest number of pairs of a subset, spread evenly; None: all.

    Raises:
        PairsError: A folder does not have its data set's layout or no pairs, or a data set has no
            such split or pass.
        UsageError: Splits or passes are given and no data set has any.
    """
    parsed = [parse_source(source) for source in sources]
    data_sets = [DATA_SETS[name] for name, _ in parsed]
    _require("--split", splits, [data_set.splits for data_set in data_sets], data_sets)
    _require("--pass", passes, [data_set.passes for data_set in data_sets], data_sets)
    found = []
    for data_set, (_, folder) in zip(data_sets, parsed, strict=True):
        own_splits = splits if splits and data_set.splits else [data_set.evaluated]
        default = data_set.passes[0] if data_set.passes else None
        own_passes = passes if passes and data_set.passes else [default]
        for split, pass_name in product(own_splits, own_passes):
            pairs = data_set.find_pairs(folder, split=split, pass_name=pass_name)
            chosen = tuple(spread(pairs, limit or len(pairs)))
            mode = padding or data_set.padding
            found.append(Subset(data_set.name, split, pass_name, mode, chosen, len(pairs)))
    return found


def _require(
    option: str,
    given: Sequence[str] | None,
    known: Sequence[tuple[str, ...]],
    data_sets: Sequence[DataSet],
) -> None:
    if given and not any(known):
        names = ", ".join(data_set.name for data_set in data_sets)
        raise UsageError(f"{option} {','.join(given)}: {names} has none; leave it out.")
