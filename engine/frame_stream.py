"""The flow along a sequence of frames: what ``FlowEngine.stream`` returns."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from engine.errors import InputError
from engine.images import check_same_kind
from engine.inference import Run
from engine.opened import Opened
from engine.system.ordered_map import check_process
from engine.types import Array


class FrameStream(Iterator[Any]):
    """Iterator over the flows from each frame to the next.

    After an error the next call goes on: from the frame that was refused if only its size or type
    differed, otherwise from the frame after it. No flow is computed across a frame that is left
    out.
    """

    def __init__(
        self,
        frames: Iterable[object],
        opened: Opened,
        run: Run,
        *,
        bgr: bool,
        restart: bool,
    ) -> None:
        """Read no frame yet.

        Args:
            frames: the source.
            opened: checks and computes.
            run: how a pair is computed.
            bgr: whether the channels are in the order BGR.
            restart: whether a frame of another size starts anew instead of raising.
        """
        self._frames = enumerate(frames)
        self._opened, self._run = opened, run
        self._bgr, self._restart = bgr, restart
        self._process = os.getpid()
        self._last: tuple[Array, Any] | None = None  # a frame, and what was prepared of it

    def __next__(self) -> Any:
        """Return the next flow; see ``FlowEngine.stream``."""
        check_process(self._process)
        for index, frame in self._frames:
            flow = self._flow_to(frame, index)
            if flow is not None:
                return flow
        raise StopIteration

    def _flow_to(self, frame: object, index: int) -> Any:
        """Return the flow from the last frame to this one, which becomes the last; None: none."""
        last, self._last = self._last, None
        refused, follows = None, False
        try:
            image, padded = self._opened.inference.frame(frame, f"frame {index}", bgr=self._bgr)
            if last is not None:
                refused = self._difference(last[0], image, index)
                follows = refused is None and last[0].shape == image.shape
        finally:
            if index and not follows:
                self._run.skip()
        first = last[1] if follows and last is not None else None
        with self._opened.lifetime.borrowed():
            prepared, flow = self._opened.inference.next_flow(self._run, first, image, padded)
        self._last = image, prepared
        if refused is not None:
            raise refused
        return flow

    def _difference(self, last: Array, image: Array, index: int) -> InputError | None:
        """Return the error for a frame that does not follow the last one; None: it may."""
        if self._restart and last.shape != image.shape:
            return None
        try:
            check_same_kind(last, image, (f"frame {index - 1}", f"frame {index}"))
        except InputError as error:
            return error
        return None
