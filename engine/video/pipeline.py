"""From frames to their flow: reading, inference and the caller's work at the same time."""

import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.engine import FlowEngine
from engine.flow.metrics import SAMPLE_STEP
from engine.system.read_ahead import read_ahead
from engine.types import Array, Flow, Image
from engine.video.frame import Frame

# Frames, and flows, between two stages. More would only hide longer pauses of one stage.
_AHEAD = 2


@dataclass(frozen=True)
class FlowFrame:
    """The flow from one frame to the next.

    Attributes:
        first: the frame whose pixels move.
        second: the frame after it.
        flow: (H, W, 2) float32 pixels, x then y.
        index: number of the flow in its sequence, from 0.
    """

    first: Frame
    second: Frame
    flow: Flow
    index: int
    _thinned: dict[int, Flow] = field(default_factory=dict, init=False, repr=False, compare=False)

    def thinned(self, every: int) -> Flow:
        """Return every N-th vector in each direction, contiguous; do not change them."""
        if every == 1:
            return self.flow
        if every not in self._thinned:
            # As complex numbers a vector is one item: five times as fast to copy.
            vectors: Array = np.ascontiguousarray(self.flow).view(np.complex64)
            thinned = np.ascontiguousarray(vectors[::every, ::every])
            self._thinned[every] = thinned.view(np.float32)
        return self._thinned[every]

    @cached_property
    def magnitudes(self) -> npt.NDArray[np.float32]:
        """Lengths of every fourth vector in each direction, in pixels."""
        # As complex numbers: several times as fast as the root of two squares.
        return np.abs(self.thinned(SAMPLE_STEP).view(np.complex64)[..., 0])


def flow_frames(
    frames: Iterable[Frame],
    flow_engine: FlowEngine,
    *,
    warm_start: bool = False,
    known_motion: bool = False,
    first_index: int = 0,
    every: int = 1,
) -> Generator[FlowFrame, None, None]:
    """Yield the flow from each frame to the next.

    Frames are read in one thread and inferred in another, ahead of the caller, with at most two
    items waiting between each. Both threads have ended when the generator is exhausted, raises or
    is closed: close it if you leave it early.

    Args:
        frames: images of one size, in order.
        flow_engine: the engine.
        warm_start: see ``FlowEngine.stream``.
        known_motion: whether the engine takes the frames' ``motion``, see ``FlowEngine.stream``.
        first_index: of the first flow.
        every: N; only the first of every N pairs is computed. Above 1 pairs share no frame, and
            are computed by ``FlowEngine.infer``, without warm start and known motion.

    Raises:
        InputError: Of the source, or the frames differ in size.
        BackendError: The runtime failed.
    """
    with closing(read_ahead(frames, ahead=_AHEAD)) as decoded:
        if every == 1:
            flows = _infer(decoded, flow_engine, warm_start, known_motion)
        else:
            flows = _infer_some(decoded, flow_engine, every)
        with closing(read_ahead(flows, ahead=_AHEAD)) as inferred:
            for index, (first, second, flow) in enumerate(inferred, first_index):
                yield FlowFrame(first, second, flow, index)


def _infer(
    frames: Iterable[Frame], flow_engine: FlowEngine, warm_start: bool, known_motion: bool
) -> Generator[tuple[Frame, Frame, Flow], None, None]:
    latest: deque[Frame] = deque(maxlen=2)  # not `tee`, which keeps up to 57 items

    def images() -> Iterator[Image]:
        for frame in frames:
            latest.append(frame)
            yield frame.image

    # Read when the second frame of a pair is the latest one.
    motions = (latest[-1].motion for _ in itertools.count()) if known_motion else None
    for flow in flow_engine.stream(images(), warm_start=warm_start, motions=motions):
        first, second = latest
        yield first, second, flow


def _infer_some(
    frames: Iterable[Frame], flow_engine: FlowEngine, every: int
) -> Generator[tuple[Frame, Frame, Flow], None, None]:
    first = None
    for index, frame in enumerate(frames):
        if first is not None:
            yield first, frame, flow_engine.infer(first.image, frame.image)
        first = frame if index % every == 0 else None
