"""The official split of Flying Chairs: a text file with a label for each pair, in their order."""

from collections.abc import Sequence
from pathlib import Path

from engine.data.files import PairFiles
from engine.data.pair import PairsError

SPLIT_FILES = ("FlyingChairs_train_val.txt", "chairs_split.txt")
_LABELS: dict[str, float] = {"train": 1, "validation": 2}


def select_split(pairs: Sequence[PairFiles], folder: Path, split: str) -> list[PairFiles]:
    """Return the pairs of a split, by the split file in the folder or its parent.

    Without a split file every pair belongs to both splits.

    Raises:
        PairsError: The number of labels differs from the number of pairs, or a label is neither 1
            nor 2.
    """
    for path in (place / name for name in SPLIT_FILES for place in (folder, folder.parent)):
        if path.is_file():
            labels = [_label(word, path) for word in path.read_text(errors="replace").split()]
            if len(labels) != len(pairs):
                raise PairsError(
                    f"{path}: {len(labels)} labels for {len(pairs)} pairs; expected one for each: "
                    "restore the missing files or remove the split file"
                )
            wanted = _LABELS[split]
            return [pair for pair, label in zip(pairs, labels, strict=True) if label == wanted]
    return list(pairs)


def _label(word: str, path: Path) -> float:
    try:
        label = float(word)
    except ValueError:
        label = 0
    if label not in _LABELS.values():
        raise PairsError(
            f"{path}: the label {word[:20]!r} is neither 1 (training) nor 2 (validation); restore "
            "the file"
        )
    return label
