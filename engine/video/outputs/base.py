"""What all outputs of a sequence have in common."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from engine.video.pipeline import FlowFrame

# Writes the next flow.
Write = Callable[[FlowFrame], None]


class Output(Protocol):
    """A file or folder that is written flow by flow, and can be continued after an interruption.

    Attributes:
        path: what appears.
    """

    path: Path

    def finished(self, *, complete: bool) -> int:
        """Return how many flows, from the first one on, an earlier run has left here.

        Only asked if that run was of the same command. A flow that may be incomplete, as after a
        crash, does not count.

        Args:
            complete: whether that run completed this output; otherwise a file at ``path`` is older.
        """

    def open(self, first: int) -> AbstractContextManager[Write]:
        """Return the block in which flow number ``first`` and those after it are written, in order.

        ``first`` is at most ``finished()``. At 0 a file begins anew; in a folder, files of other
        names stay. If the block ends without an error, the output is complete. Otherwise what was
        written stays for ``finished``, and whatever is at ``path`` is no incomplete file.
        """
