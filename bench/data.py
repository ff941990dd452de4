"""The pairs that a table is measured on, by the argument of ``--data``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environment import fingerprint, run_module
from engine.data.files import read_pair, require_flows
from engine.data.pair import Pair
from engine.data.sources import find_source, motorcycle, parse_source, spread

SYNTHETIC_SIZE = "384x512"
# Training counts its seeds up from a small one and validates from 2_000_000_000 on: a table shows
# pairs of neither.
SYNTHETIC_SEED = 3_000_000_000


@dataclass(frozen=True)
class PairSet:
    """Pairs of one source, ``available`` being how many it has."""

    name: str
    source: str
    pairs: tuple[Pair, ...]
    available: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "pairs": [pair.name for pair in self.pairs],
            "available": self.available,
            "sizes": sorted({"{}x{}".format(*pair.size) for pair in self.pairs}),
        }


def load_pairs(name: str, *, limit: int, cache: Path) -> PairSet:
    """Load ``motorcycle``, ``synthetic``, or pairs of a folder with true flow.

    Args:
        name: one of the two words, or a folder as in `engine.data.sources.find_source`.
        limit: largest number of pairs, spread evenly over the set.
        cache: folder for rendered pairs.

    Raises:
        PairsError: the folder has no usable pairs, or one without true flow.
    """
    if name == "motorcycle":
        return PairSet(name, "scikit-image, Middlebury 2014 stereo", (motorcycle(),), 1)
    if name == "synthetic":
        files = find_source(str(_synthetic_folder(limit, cache=cache)))
        source = f"python -m training.synthetic, {SYNTHETIC_SIZE}, seed {SYNTHETIC_SEED}"
    else:
        files = find_source(name)
        source = f"folder {parse_source(name).folder.name}"
    require_flows(files)
    return PairSet(name, source, tuple(map(read_pair, spread(files, limit))), len(files))


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
