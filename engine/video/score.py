"""How much moves in a clip: the measures of ``flow score``."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.engine import FlowEngine
from engine.flow.affine import fit_affine, grid, moved_points
from engine.flow.histogram import MagnitudeHistogram
from engine.flow.metrics import SAMPLE_STEP
from engine.images.resizing import limited, resized
from engine.store.reader import FlowStore
from engine.types import Flow
from engine.video.cuts import is_cut
from engine.video.frame import Frame, FrameSource
from engine.video.pipeline import flow_frames

# A pixel moves if it moves by more than this share of the image's diagonal: 2.2 px at 1080x1920,
# 0.6 px of the images at a longer side of 512 px, several times the error in still scenes.
MOVING = 1e-3


@dataclass(frozen=True)
class Cut:
    """The first frame of a new scene.

    Attributes:
        frame: its number in the clip, from 0.
        time: seconds since the start of the clip.
    """

    frame: int
    time: float


@dataclass(frozen=True)
class ClipScore:
    """The motion of a clip, in pixels of its frames; pairs with a cut between do not count.

    Attributes:
        height: in pixels.
        width: in pixels.
        frames: number of frames that were used.
        mean: over all pixels and pairs of frames.
        median: of all pixels and pairs, to 1 %.
        p95: 95th percentile of all pixels and pairs, to 1 %.
        moving: share of the pixels that move by more than `MOVING` of the diagonal.
        camera: mean length of the affine motion that most pixels of a pair share.
        object: mean length of what is left without it.
        cuts: between scenes; None if the frames are not known.
    """

    height: int
    width: int
    frames: int
    mean: float
    median: float
    p95: float
    moving: float
    camera: float
    object: float
    cuts: tuple[Cut, ...] | None

    def to_json(self) -> dict[str, Any]:
        """Return one flat object: lengths in pixels, and as shares of the diagonal; NaN is None."""
        lengths = ("mean", "median", "p95", "camera", "object")
        diagonal = math.hypot(self.height, self.width)
        return {
            **{name: getattr(self, name) for name in ("height", "width", "frames")},
            **{f"{name}_px": _number(getattr(self, name)) for name in lengths},
            **{name: _number(getattr(self, name) / diagonal) for name in lengths},
            "moving": _number(self.moving),
            "cuts": None if self.cuts is None else [dataclasses.asdict(cut) for cut in self.cuts],
        }


def score_clip(
    source: FrameSource,
    flow_engine: FlowEngine,
    *,
    max_side: int,
    stride: int = 1,
    every: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> ClipScore:
    """Compute the flow of a clip from each frame to the next, and score it.

    Args:
        source: the frames.
        flow_engine: the engine.
        max_side: frames are downscaled to this longer side first.
        stride: which frames the source has of the clip's, for their numbers.
        every: N; only the first of every N pairs of frames counts, and only there cuts are found.
        progress: called after each pair of frames.

    Raises:
        InputError: Of the source.
        BackendError: The runtime failed.
    """
    size = source.height, source.width
    tally = Tally(*size)
    cuts = []
    steps = flow_frames(_reduced(source, limited(size, max_side)), flow_engine, every=every)
    with closing(steps):
        for step in steps:
            frame = step.index * every + 1
            if is_cut(step.first.image, step.second.image, step.flow):
                cuts.append(Cut(frame * stride, float(step.second.time)))
            else:
                tally.add(step.flow)
            progress()
    pairs = step.index + 1
    return tally.score(frames=pairs + 1 if every == 1 else 2 * pairs, cuts=cuts)


def score_store(store: FlowStore, *, progress: Callable[[], None] = lambda: None) -> ClipScore:
    """Score the flows of a store, in its pixels; cuts are not known.

    Raises:
        FlowFileError: The store is damaged.
    """
    tally = Tally(store.height, store.width)
    for flow in store:
        tally.add(flow)
        progress()
    return tally.score(frames=len(store) + 1, cuts=None)


class Tally:
    """Adds up the motion of a clip, pair by pair, in constant memory."""

    def __init__(self, height: int, width: int) -> None:
        """Start a clip with frames of this size."""
        self._size = height, width
        self._least = MOVING * math.hypot(height, width)
        self._magnitudes = MagnitudeHistogram()
        self._sums = np.zeros(4)  # of a pair's mean, moving, camera, object
        self._pairs = 0

    def add(self, flow: Flow) -> None:
        """Add the flow (h, w, 2) of a pair; of smaller frames, in pixels of those."""
        height, width = flow.shape[:2]
        ratios = self._size[1] / width, self._size[0] / height
        points = grid(height, width, SAMPLE_STEP) * ratios
        vectors = flow[::SAMPLE_STEP, ::SAMPLE_STEP].reshape(-1, 2) * ratios
        known = np.isfinite(vectors).all(axis=1)
        points, vectors = points[known], vectors[known]
        if not len(points):
            return
        shared = moved_points(fit_affine(points, points + vectors), points) - points
        lengths, camera, left = (np.hypot(*of.T) for of in (vectors, shared, vectors - shared))
        self._magnitudes.add(lengths)
        moving = (lengths > self._least).mean()
        self._sums += lengths.mean(), moving, camera.mean(), left.mean()
        self._pairs += 1

    def score(self, *, frames: int, cuts: Sequence[Cut] | None) -> ClipScore:
        """Return the score; NaN where no pair was added."""
        unknown = not self._pairs
        mean, moving, camera, of_objects = np.full(4, np.nan) if unknown else self._means()
        median, p95 = (
            math.nan if unknown else self._magnitudes.percentile(share) for share in (0.5, 0.95)
        )
        known = None if cuts is None else tuple(cuts)
        return ClipScore(*self._size, frames, mean, median, p95, moving, camera, of_objects, known)

    def _means(self) -> Any:
        return self._sums / self._pairs


def _reduced(frames: Iterable[Frame], size: tuple[int, int]) -> Iterator[Frame]:
    return (dataclasses.replace(frame, image=resized(frame.image, size)) for frame in frames)


def _number(value: float) -> float | None:
    """Return six digits of a number, None of NaN."""
    return None if math.isnan(value) else float(f"{value:.6g}")
