"""Large images in overlapping tiles, whose flows are blended.

The runtime gets one tile of both images after the other, so its memory does not depend on the size
of the images. A pixel that leaves its tile has no match there: motion beyond the overlap is
estimated worse near the borders of the tiles.
"""

import itertools
import logging
from typing import Any

import numpy as np

from engine.backends.base import Backend, Flows, Images
from engine.decorators.base import BackendDecorator
from engine.images import padded_size
from engine.images.tiling import Segment, segments
from engine.system.ordered_map import map_in_order

# Least overlap of two tiles, in pixels; `docs/large-frames.md` has the measurement.
OVERLAP = 128
# Of each pixel: two uint8 images, the flow and its crop.
_BYTES = 2 * 3 + 2 * 8

_log = logging.getLogger("engine")

Window = tuple[Segment, Segment]


class TiledBackend(BackendDecorator):
    """Backend decorator that computes images larger than a tile in parts."""

    def __init__(
        self, backend: Backend, tile: tuple[int, int], *, divisor: int, streams: int = 1
    ) -> None:
        """Take ownership of a backend.

        Args:
            backend: the backend.
            tile: height and width, multiples of ``divisor``, at least twice ``OVERLAP``.
            divisor: of the network.
            streams: number of tiles computed at once.
        """
        super().__init__(backend, f"tiles of {tile[0]}x{tile[1]}")
        self._tile, self._divisor, self._streams = tile, divisor, streams
        self._seen: set[tuple[int, int]] = set()

    def network_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See ``BackendDecorator.network_size``; a tile, or less."""
        height, width = map(min, size, self._tile)
        return super().network_size((height, width))

    def prepare(self, image: Images) -> "TiledImage":
        """See ``Backend.prepare``; tiles are prepared by the first ``run`` that needs them."""
        return TiledImage(self._backend, image)

    def run(self, first: "TiledImage", second: "TiledImage") -> Flows:
        """See ``Backend.run``."""
        count, height, width, _ = first.image.shape
        windows = self._windows(height, width)

        def flow_of(_: int, window: Window) -> Flows:
            return self._backend.run(first.take(window), second.keep(window))

        if len(windows) == 1:
            return flow_of(0, windows[0])
        flow = np.zeros((count, height, width * 2), np.float32)
        parts = map_in_order(flow_of, windows, threads=self._streams)
        for (rows, columns), part in zip(windows, parts, strict=True):
            # Both components of a row as one: numpy is slow along an axis of two.
            values = part.reshape(*part.shape[:2], -1)
            values *= rows.weights[:, np.newaxis]
            values *= columns.weights.repeat(2)
            start = 2 * columns.start
            flow[:, rows.pixels, start : start + values.shape[2]] += values
        return flow.reshape(count, height, width, 2)

    def _windows(self, height: int, width: int) -> list[Window]:
        overlap, _ = padded_size(OVERLAP, OVERLAP, self._divisor)
        rows, columns = (
            segments(length, tile, overlap, self._divisor)
            for length, tile in zip((height, width), self._tile, strict=True)
        )
        windows = list(itertools.product(rows, columns))
        if (height, width) not in self._seen:
            self._seen.add((height, width))
            _log.info(
                "%dx%d: %d tile(s) of %dx%d, %d at once; besides them a pair takes %.0f MiB",
                *(height, width, len(windows), *self.network_size((height, width))),
                *(min(self._streams, len(windows)), height * width * _BYTES / 2**20),
            )
        return windows


class TiledImage:
    """An image whose tiles are prepared when they are needed.

    In a video an image is the second of one pair, then the first of the next: what is prepared for
    its tiles is kept in between.
    """

    def __init__(self, backend: Backend, image: Images) -> None:
        """Prepare nothing yet."""
        self.image = image
        self._backend = backend
        self._prepared: dict[tuple[int, int], Any] = {}

    def take(self, window: Window) -> Any:
        """Return a prepared tile, and keep it no longer."""
        prepared = self._prepared.pop(_corner(window), None)
        return self._backend.prepare(self._cut(window)) if prepared is None else prepared

    def keep(self, window: Window) -> Any:
        """Return a prepared tile, and keep it if preparing it was work."""
        tile = self._cut(window)
        prepared = self._backend.prepare(tile)
        if prepared is not tile:
            self._prepared[_corner(window)] = prepared
        return prepared

    def _cut(self, window: Window) -> Images:
        rows, columns = window
        return np.ascontiguousarray(self.image[:, rows.pixels, columns.pixels])


def _corner(window: Window) -> tuple[int, int]:
    rows, columns = window
    return rows.start, columns.start
