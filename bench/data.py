"""The pairs that a table is measured on, by the argument of ``--data``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environment import fingerprint, run_module
from engine.data.files import PairFiles, read_pair, require_flows
from engine.data.pair import Pair
from engine.data.sources import DATA_SETS, find_source, motorcycle, parse_source, spread

SYNTHETIC_SIZE = "384x512"
# Training counts its seeds up from a small one and validates from 2_000_000_000 on: a table shows
# pairs of neither.
SYNTHETIC_SEED = 3_000_000_000


@dataclass(frozen=True)
class PairSet:
    """Pairs of one source, read one after another: memory does not grow with their number.

    Attributes:
        name: the argument of ``--data``.
        source: where the pairs are from.
        files: the chosen pairs.
        sizes: (H, W) of each.
        available: how many pairs the source has.
    """

    name: str
    source: str
    files: tuple[PairFiles | Pair, ...]
    sizes: tuple[tuple[int, int], ...]
    available: int

    def __len__(self) -> int:
        return len(self.files)

    def read(self, limit: int | None = None) -> Iterator[Pair]:
        """Read the pairs in order; at most ``limit`` of them, spread evenly."""
        return map(_read, spread(self.files, limit or len(self)))

    @property
    def largest(self) -> tuple[int, int]:
        """The largest height and the largest width."""
        heights, widths = zip(*self.sizes, strict=True)
        return max(heights), max(widths)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "pairs": [pair.name for pair in self.files],
            "available": self.available,
            "sizes": ["{}x{}".format(*size) for size in sorted(set(self.sizes))],
        }


def load_pairs(name: str, *, limit: int, cache: Path) -> PairSet:
    """Find ``motorcycle``, ``synthetic``, or pairs with true flow, and read each of them once.

    Args:
        name: one of the two words, or a source as in `engine.data.sources.find_source`, of which
            the split counts that papers report.
        limit: largest number of pairs, spread evenly over the set.
        cache: folder for rendered pairs.

    Raises:
        PairsError: the folder has no usable pairs, or one without true flow.
    """
    if name == "motorcycle":
        return _checked(name, "scikit-image, Middlebury 2014 stereo", [motorcycle()], 1)
    if name == "synthetic":
        files = find_source(str(_synthetic_folder(limit, cache=cache)))
        source = f"python -m training.synthetic, {SYNTHETIC_SIZE}, seed {SYNTHETIC_SEED}"
    else:
        data_set, folder, _ = parse_source(name)
        files = find_source(name, split=DATA_SETS[data_set].evaluated)
        source = f"folder {folder.name}"
    require_flows(files)
    return _checked(name, source, spread(files, limit), len(files))


def _checked(name: str, source: str, files: Sequence[PairFiles | Pair], available: int) -> PairSet:
    # All are read before the first measurement: a damaged file must not end a long run.
    sizes = tuple(pair.size for pair in map(_read, files))
    return PairSet(name, source, tuple(files), sizes, available)


def _read(pair: PairFiles | Pair) -> Pair:
    return read_pair(pair) if isinstance(pair, PairFiles) else pair


def _synthetic_folder(count: int, *, cache: Path) -> Path:
    """Render pairs in a process of its own, as this package does not import training's."""
    key = fingerprint(sources=["training/**/*.py"])
    folder = cache / f"synthetic-{SYNTHETIC_SIZE}-{SYNTHETIC_SEED}-{count}-{key}"
    if not folder.is_dir():
        # Renamed when complete: a killed run leaves nothing that looks finished.
        partial = folder.with_suffix(".partial")
        options = {"--pairs": count, "--size": SYNTHETIC_SIZE, "--seed": SYNTHETIC_SEED}
        flags = [str(part) for option in options.items() for part in option]
        run_module("training.synthetic", *flags, "-o", str(partial))
        partial.rename(folder)
    return folder
