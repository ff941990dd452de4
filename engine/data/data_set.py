"""What the program knows about a published data set: its layout, splits, passes and padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.data.files import PairFiles
from engine.data.layouts import check_layout
from engine.data.pair import PairsError
from engine.errors import nearest
from engine.images.padding import PaddingMode

# Lists the pairs of a folder, of a split and of a pass, in their published order.
Finder = Callable[[Path, str | None, str | None], Sequence[PairFiles]]
# What training needs pairs for.
Use = Literal["train", "validation"]


@dataclass(frozen=True)
class DataSet:
    """A data set in its published layout.

    Attributes:
        name: before the colon in ``NAME:DIR``.
        finder: lists the pairs; called with a split and a pass that exist.
        layout: the files of a pair below the folder, for error messages.
        splits: the published splits. Without one, the pairs are all that have a published flow.
        passes: renderings of the same scenes; the first is the default.
        evaluated: the split that papers report on; None: all pairs with flow.
        padding: how the published protocol pads images.
        is_file: the data set is one file instead of a folder.
    """

    name: str
    finder: Finder
    layout: str
    splits: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    evaluated: str | None = None
    padding: PaddingMode = "sintel"
    is_file: bool = False

    def find_pairs(
        self, folder: Path, *, split: str | None = None, pass_name: str | None = None
    ) -> Sequence[PairFiles]:
        """Find the pairs of a folder.

        Args:
            folder: where the data set is.
            split: one of ``splits``; None: all pairs with a published flow.
            pass_name: one of ``passes``; None: the first.

        Raises:
            PairsError: There is no such split or pass, the folder does not have the layout, or
                there are no pairs.
        """
        self._check("split", split, self.splits)
        self.check_pass(pass_name)
        if pass_name is None and self.passes:
            pass_name = self.passes[0]
        if not self.is_file:
            check_layout(self.name, folder, self.layout)
        pairs = self.finder(folder, split, pass_name)
        if not pairs:
            where = f" in its split {split}" if split else ""
            raise PairsError(f"{folder} has no pairs{where}; expected {self.layout}: unpack them")
        return pairs

    def check_pass(self, pass_name: str | None) -> None:
        """Check that the data set has a pass.

        Raises:
            PairsError: It has not.
        """
        self._check("pass", pass_name, self.passes)

    def split_for(self, use: Use) -> str | None:
        """Return the split to train on, or to validate on: that of the name if there is one."""
        if use in self.splits:
            return use
        return self.evaluated if use == "validation" else None

    def _check(self, kind: str, value: str | None, known: tuple[str, ...]) -> None:
        if value is None or value in known:
            return
        expected = f"one of {', '.join(known)}" if known else f"none, as there is one {kind} alone"
        raise PairsError(
            f"{self.name} has no {kind} {value!r}; expected {expected}.{nearest(value, known)}"
        )
