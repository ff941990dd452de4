"""Global motion compensation: align the second image by the dominant motion before inference.

Under camera motion or between stereo images most pixels share one motion, and the networks are most
accurate where motion is small. The dominant motion is affine: a robust fit to the flow of a copy
with a sixteenth of the pixels, or, in a video, to the motion vectors in the file. It is used only
if it explains the images better than no motion does.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.backends.base import Backend, MotionBackend
from engine.decorators.base import BackendDecorator
from engine.errors import BackendError, InputError
from engine.flow.affine import (
    Affine,
    Points,
    add_affine,
    affine_motion,
    are_inside,
    grid,
    moved_points,
)
from engine.flow.metrics import SAMPLE_STEP
from engine.images import network_input, padded_size
from engine.images.alignment import aligned
from engine.images.sampling import interpolated
from engine.types import Flow, Image

# Subsampling of the copy in each direction; 2 hardly improves the estimate.
_STEP = 4
# Smaller mean motion is left to the network, which is accurate there.
_LEAST_MOTION = 4
# The motion must lower the median difference of the images to this share. With both limits 6 of 87
# real pairs (mirrored and halved ones among them) became worse by more than 5 %, without them 23.
_LEAST_GAIN = 0.8
# The images are compared at about so many points,
_SAMPLES = 4096
# of which at least this share must remain inside the second image.
_LEAST_OVERLAP = 1 / 8


class GlobalMotionBackend(BackendDecorator):
    """Backend decorator that compensates global motion before inference."""

    def __init__(self, backend: Backend, divisor: int, smallest: int = 1) -> None:
        """Take ownership of a backend; ``divisor`` and ``smallest`` as in its manifest."""
        super().__init__(backend, "motion compensated")
        self._divisor = divisor
        self._smallest = smallest

    def run(self, first: Image, second: Image) -> Flow:
        """See ``Backend.run``."""
        motions = self._estimated(first, second)
        kept = [
            motion if is_large(motion, one) and explains(motion, one, two) else None
            for one, two, motion in zip(first, second, motions, strict=True)
        ]
        return self._compensated(first, second, kept)

    def run_with_motion(self, motion: Affine | None, first: Image, second: Image) -> Flow:
        """See ``MotionBackend.run_with_motion``; a motion that explains nothing is not used."""
        if motion is None:
            return self.run(first, second)
        if not is_large(motion, first[0]):
            return self._flow(first, second)
        if not all(explains(motion, one, two) for one, two in zip(first, second, strict=True)):
            return self.run(first, second)
        return self._compensated(first, second, [motion] * len(first))

    def _compensated(self, first: Image, second: Image, motions: Sequence[Affine | None]) -> Flow:
        if all(motion is None for motion in motions):
            return self._flow(first, second)
        shown = second.copy()
        for index, motion in enumerate(motions):
            if motion is not None:
                shown[index] = aligned(first[index], second[index], motion)
        flow = np.ascontiguousarray(self._flow(first, shown))
        for one, motion in zip(flow, motions, strict=True):
            if motion is not None:
                add_affine(one, motion)
        return flow

    def _flow(self, first: Image, second: Image) -> Flow:
        prepared: list[Any] = [self._backend.prepare(image) for image in (first, second)]
        return self._backend.run(*prepared)

    def _estimated(self, first: Image, second: Image) -> list[Affine]:
        """Return the dominant motion of each pair."""
        # A copy smaller than the divisor would be mostly padding.
        step = min(max(min(first.shape[1:3]) // max(self._divisor, self._smallest), 1), _STEP)
        small = [image[:, ::step, ::step] for image in (first, second)]
        height, width = small[0].shape[1:3]
        size = padded_size(height, width, self._divisor, self._smallest)
        if self.profile is not None:
            _, *least = self.profile.min
            size = max(size[0], least[0]), max(size[1], least[1])
        flow = self._flow(*(network_input(image, size) for image in small))
        motions = [affine_motion(one[:height, :width], step=SAMPLE_STEP) for one in flow]
        for motion in motions:
            motion[:, 2] *= step
        return motions


class KnownMotion:
    """Runs the pairs of a video, each with its motion from elsewhere."""

    def __init__(self, backend: Backend, motions: Iterable[ArrayLike | None]) -> None:
        """Take one motion for each pair; without one, and after the last, it is estimated.

        Raises:
            BackendError: the backend compensates no motion.
        """
        if not isinstance(backend, MotionBackend):
            raise BackendError(
                f"motions: backend {backend.name} compensates no motion; expected an engine loaded "
                "with compensate_motion=True. Load it so, or leave motions out."
            )
        self._backend, self._motions = backend, iter(motions)

    def skip(self) -> None:
        """Leave out the motion of a pair that is not computed."""
        next(self._motions, None)

    def run(self, first: Any, second: Any) -> Flow:
        """See ``Backend.run``."""
        given = next(self._motions, None)
        motion = None if given is None else np.asarray(given, np.float64)
        if motion is not None and (motion.shape != (2, 3) or not np.isfinite(motion).all()):
            raise InputError(
                f"a motion is {given!r}; expected a (2, 3) matrix of finite numbers, from the "
                "first to the second frame, or None."
            )
        return self._backend.run_with_motion(motion, first, second)


def is_large(motion: Affine, image: Image) -> bool:
    """Return whether a motion moves the pixels of an image by at least 4 px on average."""
    points = _sample(image)
    return float(np.hypot(*(moved_points(motion, points) - points).T).mean()) >= _LEAST_MOTION


def explains(motion: Affine, first: Image, second: Image) -> bool:
    """Return whether a motion explains the difference of two images, (H, W, 3) uint8.

    It does if it lowers the median absolute difference by a fifth, over a sample of the pixels that
    are inside the second image after it. Interpolation averages noise away, and so lowers the
    difference of images without any content: the motion must do better than its part below a pixel,
    which averages as much.
    """
    points = _sample(first)
    moved = moved_points(motion, points)
    inside = are_inside(moved, *second.shape[:2])
    if inside.mean() < _LEAST_OVERLAP:
        return False
    points, moved = points[inside].astype(np.intp), moved[inside]
    # Green only, most of the brightness: the same decisions in a third of the time.
    here, there = first[..., 1], second[..., 1]
    columns, rows = points.T
    before = here[rows, columns].astype(np.float32)
    x, y = points.T + moved.T - np.rint(moved.T)
    with_motion, without, below_a_pixel = (
        np.median(np.abs(values - before))
        for values in (
            interpolated(there, *moved.T),
            there[rows, columns],
            interpolated(there, x, y),
        )
    )
    return bool(with_motion < _LEAST_GAIN * min(without, below_a_pixel))


def _sample(image: Image) -> Points:
    height, width = image.shape[:2]
    return grid(height, width, max(1, round((height * width / _SAMPLES) ** 0.5)))
