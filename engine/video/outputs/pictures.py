"""A folder with one picture per frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.flow.legend import Legend
from engine.images import write_image
from engine.video.outputs.base import Write
from engine.video.outputs.flow_files import count_files
from engine.video.pipeline import FlowFrame
from engine.video.views import View

_SUFFIX = ".png"


class Pictures:
    """Writes ``<name of the first frame>.png`` into a folder; an `Output`.

    Attributes:
        path: of the folder.
    """

    def __init__(self, folder: Path, view: View, *, legend: bool) -> None:
        """Write pictures of this view, with or without a legend."""
        self.path, self._view = folder, view
        self._legend = Legend(view.height, view.width) if legend else None

    def finished(self, *, complete: bool) -> int:
        """Return the number of pictures in the folder."""
        return count_files(self.path, _SUFFIX)

    @contextmanager
    def open(self, first: int) -> Iterator[Write]:
        """Yield what writes a picture; see `Output`."""
        yield self._write

    def _write(self, step: FlowFrame) -> None:
        self.path.mkdir(exist_ok=True)  # with the first file, so that a failure before leaves none
        image = self._view.draw(step)
        if self._legend is not None:
            self._legend.draw(image, self._view.painter.scale)
        write_image(self.path / f"{step.first.name}{_SUFFIX}", image)
