"""A video or an animated GIF, one image per flow."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.flow.legend import Legend
from engine.video.frame import FrameSource
from engine.video.gif import write_gif
from engine.video.outputs.base import Write
from engine.video.parts import VideoParts, join
from engine.video.pipeline import FlowFrame
from engine.video.views import View
from engine.video.writer import VIDEO_SUFFIXES, Encoding, check_video_format

_GIF = ".gif"
MOVIE_SUFFIXES = (*VIDEO_SUFFIXES, _GIF)
_GIF_SIDE = 480  # pixels, at most: larger ones are too large for what GIFs are used for


def check_movie_format(path: Path) -> None:
    """Raise ``InputError`` unless the suffix of ``path`` is in `MOVIE_SUFFIXES`."""
    check_video_format(path, MOVIE_SUFFIXES)


class Movie:
    """Writes a video in which each flow is shown when its first frame was; an `Output`.

    Its times begin at 0. GIFs have at most 480 pixels a side, and repeat for ever.

    Attributes:
        path: of the file.
    """

    def __init__(
        self, path: Path, view: View, source: FrameSource, *, legend: bool, threads: int
    ) -> None:
        """Write a video of this view.

        Args:
            path: a file with a suffix in `MOVIE_SUFFIXES`.
            view: draws the images.
            source: of the frames.
            legend: whether to draw a legend into a corner, if there is space for it.
            threads: CPU threads for encoding.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
            InputError: The suffix is none of `MOVIE_SUFFIXES`.
        """
        check_movie_format(path)
        self.path, self._view, self._begin = path, view, source.begin
        self._gif = path.suffix.lower() == _GIF
        size = view.height, view.width
        if self._gif:
            shrink = min(1, _GIF_SIDE / max(size))
            size = round(size[0] * shrink), round(size[1] * shrink)
        self._legend = Legend(*size) if legend else None
        self._encoding = Encoding(size, source.rate, source.time_base, threads, smooth=view.smooth)
        self._parts = VideoParts(path)

    def finished(self, *, complete: bool) -> int:
        """Return the number of images that interrupted runs have left."""
        return sys.maxsize if complete and self.path.exists() else self._parts.count()

    @contextmanager
    def open(self, first: int) -> Iterator[Write]:
        """Yield what adds an image; see `Output`."""
        with self._parts.write(first, self._encoding) as video:

            def write(step: FlowFrame) -> None:
                image = self._view.draw(step)
                scale = self._view.painter.scale
                panel = None if self._legend is None else self._legend.panel(scale)
                video.write(image, step.first.time - self._begin, corner=panel)

            yield write
        self._parts.finish(write_gif if self._gif else join)
