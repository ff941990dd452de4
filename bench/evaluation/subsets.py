"""What is evaluated: the pairs of each data set, split and pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from engine.data.files import PairFiles
from engine.data.sources import DATA_SETS, parse_source, spread
from engine.errors import nearest
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
    def name(self) -> str:
        """For example ``sintel clean``; a data set's only pass is left out."""
        has_choice = len(DATA_SETS[self.data].passes) > 1
        return f"{self.data} {self.pass_name}" if has_choice else self.data

    @property
    def title(self) -> str:
        """For example ``sintel clean (train)``."""
        return f"{self.name} ({self.split})" if self.split else self.name

    def to_json(self) -> dict[str, Any]:
        """Return what identifies the subset in results."""
        return {
            "name": self.name,
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
        sources: see `engine.data.sources.parse_source`; one that names a pass has this pass alone.
        splits: each of the data sets that have it; a data set that has none of them, or without
            splits given, is evaluated on the pairs that papers report.
        passes: likewise; otherwise the first of the data set's.
        padding: None: as each data set's protocol does.
        limit: largest number of pairs of a subset, spread evenly; None: all.

    Raises:
        PairsError: A folder does not have its data set's layout, or no pairs.
        UsageError: No data set has such a split or pass.
    """
    parsed = [parse_source(source) for source in sources]
    data_sets = [DATA_SETS[source.data_set] for source in parsed]
    _check_known("split", splits, {data_set.name: data_set.splits for data_set in data_sets})
    _check_known("pass", passes, {data_set.name: data_set.passes for data_set in data_sets})
    found = []
    for data_set, source in zip(data_sets, parsed, strict=True):
        first = data_set.passes[0] if data_set.passes else None
        own_splits = _own(splits, data_set.splits, data_set.evaluated)
        own_passes = _own(passes, data_set.passes, first)
        if source.pass_name is not None:
            own_passes = [source.pass_name]
        for split, pass_name in product(own_splits, own_passes):
            pairs = data_set.find_pairs(source.folder, split=split, pass_name=pass_name)
            chosen = tuple(spread(pairs, limit or len(pairs)))
            mode = padding or data_set.padding
            found.append(Subset(data_set.name, split, pass_name, mode, chosen, len(pairs)))
    return found


def _own(
    given: Sequence[str] | None, known: Sequence[str], default: str | None
) -> Sequence[str | None]:
    """Return the given names that a data set has, or its default."""
    return [name for name in given or () if name in known] or [default]


def _check_known(
    kind: str, given: Sequence[str] | None, known: Mapping[str, Sequence[str]]
) -> None:
    """Raise if no data set has one of the given splits or passes."""
    for name in given or ():
        if not any(name in names for names in known.values()):
            every = list(dict.fromkeys(chain.from_iterable(known.values())))
            expected = f"expected one of {', '.join(every)}" if every else f"leave --{kind} out"
            raise UsageError(
                f"{', '.join(known)}: no {kind} {name!r}; {expected}.{nearest(name, every)}"
            )
