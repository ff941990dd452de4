"""A folder with one flow file per frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.data.listing import scan_files
from engine.flow.formats import write_flow
from engine.video.outputs.base import Write
from engine.video.pipeline import FlowFrame


class FlowFiles:
    """Writes ``<name of the first frame><suffix>`` into a folder; an `Output`.

    Attributes:
        path: of the folder.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        """Write files of the format of this suffix."""
        self.path, self._suffix = folder, suffix

    def finished(self, *, complete: bool) -> int:
        """Return the number of flow files in the folder."""
        return count_files(self.path, self._suffix)

    @contextmanager
    def open(self, first: int) -> Iterator[Write]:
        """Yield what writes a file; see `Output`."""
        yield self._write

    def _write(self, step: FlowFrame) -> None:
        self.path.mkdir(exist_ok=True)  # with the first file, so that a failure before leaves none
        write_flow(self.path / f"{step.first.name}{self._suffix}", step.flow)


def count_files(folder: Path, suffix: str) -> int:
    """Return the number of files with this suffix in a folder, which need not exist."""
    return len(scan_files(folder, {suffix})) if folder.is_dir() else 0
