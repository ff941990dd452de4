"""What all backends share: check images, pad them, run the backend, crop the flow."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.backends.base import Backend, DeviceBackend, Flows, Images
from engine.backends.flow_check import check_finite, check_flow
from engine.bundle.manifest import Manifest
from engine.call_checks import check_directions, check_profile, is_bgr
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import caller_stream, flow_view, image_view
from engine.decorators.base import network_size
from engine.decorators.global_motion import KnownMotion
from engine.errors import BackendError, EngineError, InputError, one_line
from engine.images import check_same_kind, checked_image, network_input, padded_size
from engine.images.as_array import without_time
from engine.recurrence import WarmStart, check_memory
from engine.types import Array, Flow, FlowPair, ImageLike

# Of both directions. On two CPU cores a batch of two takes 0.76 times as long as its halves at
# 384x512, 0.89 times at 448x1024; beyond, it only needs more memory.
_BATCHED_PIXELS = 1 << 21


@dataclass(frozen=True)
class Run:
    """How the pairs of a video are computed.

    Attributes:
        pair: returns the flows of two prepared images, of one direction or of both.
        skip: called for each frame whose flow from the last one is not computed.
    """

    pair: Callable[[Any, Any], Flows | tuple[Flows, Flows]]
    skip: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class ImagePair:
    """Two checked images of one shape, (H, W, 3) or (N, H, W, 3).

    Attributes:
        first: the image whose pixels move.
        second: the image after it.
        size: padded height and width.
        bgr: whether the channels are in the order BGR.
    """

    first: Array
    second: Array
    size: tuple[int, int]
    bgr: bool


class Inference:
    """The rules of ``FlowEngine``, without its lifetime and threads; thread-safe."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        """Use an open backend, which stays the caller's."""
        self._manifest = manifest
        self._backend = backend
        self._sizes: set[tuple[int, ...]] = set()  # that fit in memory

    def checked(self, image1: ImageLike, image2: ImageLike, color: str) -> ImagePair:
        """Return the images, checked; see ``FlowEngine.infer`` for arguments and errors."""
        bgr = is_bgr(color)
        first = checked_image(image1, "image1", bgr=bgr)
        second = checked_image(image2, "image2", bgr=bgr)
        check_same_kind(first, second, ("image1", "image2"))
        return ImagePair(first, second, self._padded_size(first.shape), bgr)

    def flow(self, pair: ImagePair) -> Flow:
        """Return the flow from the first image to the second."""
        first, second = self._inputs(pair)
        with self._wrap_errors(pair.first.shape):
            flow = self._backend.run(*map(self._backend.prepare, (first, second)))
            return _cropped(flow, pair.first, pair.size)

    def flows(self, pair: ImagePair) -> FlowPair:
        """Return the flow from the first image to the second, and from the second to the first."""
        first, second = self._inputs(pair)
        with self._wrap_errors(pair.first.shape):
            flows = self.both(*map(self._backend.prepare, (first, second)))
            forward, backward = (_cropped(flow, pair.first, pair.size) for flow in flows)
        return forward, backward

    def both(self, first: Any, second: Any) -> tuple[Flows, Flows]:
        """Return the flow from the first prepared image to the second, and from that to the first.

        As one batch, unless features of single images serve both directions, or a batch of twice
        the size is more than fills the processor or the bundle takes.
        """
        run = self._backend.run
        if isinstance(first, np.ndarray) and self._batched((2 * len(first), *first.shape[1:])):
            both = np.concatenate((first, second)), np.concatenate((second, first))
            flows = run(*both)
            check_flow(flows, both[0].shape)
            forward, backward = np.split(flows, 2)
            return forward, backward
        return run(first, second), run(second, first)

    def run_of(
        self,
        *,
        backward: bool,
        warm_start: bool,
        motions: Iterable[ArrayLike | None] | None,
    ) -> Run:
        """Return what computes a pair of frames; see ``FlowEngine.stream``."""
        check_directions(backward, warm_start=warm_start, motions=motions is not None)
        if backward:
            return Run(self.both)
        # Refused by a backend that does not compensate motion; a warm start by one that does.
        known = None if motions is None else KnownMotion(self._backend, motions)
        if warm_start:
            warm = WarmStart(self._manifest, self._backend)
            return Run(warm.run, warm.forget)
        return Run(self._backend.run) if known is None else Run(known.run, known.skip)

    def frame(self, frame: object, name: str, *, bgr: bool) -> tuple[Array, Images]:
        """Return a frame of a video as a checked image, and as the backend takes it.

        Raises:
            InputError: See ``FlowEngine.stream``.
        """
        image = checked_image(without_time(frame), name, bgr=bgr)
        try:
            size = self._padded_size(image.shape)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        return image, network_input(image, size, bgr=bgr, copy=True)

    def next_flow(
        self, run: Run, first: Any, image: Array, padded: Images
    ) -> tuple[Any, Flow | FlowPair | None]:
        """Return a frame, prepared, and the flow to it; no flow where ``first`` is None.

        Args:
            run: how the pair is computed.
            first: the frame before, prepared.
            image: the frame.
            padded: the frame as from ``frame``.
        """
        with self._wrap_errors(image.shape):
            second = self._backend.prepare(padded)
            flow = None if first is None else run.pair(first, second)
        size = padded.shape[1:3]
        if isinstance(flow, tuple):
            return second, (_cropped(flow[0], image, size), _cropped(flow[1], image, size))
        return second, None if flow is None else _cropped(flow, image, size)

    def device_flow(
        self, image1: object, image2: object, out: object, stream: object
    ) -> DeviceArray:
        """Return the flow between two images on the GPU; see ``FlowEngine.infer_device``."""
        if not isinstance(self._backend, DeviceBackend):
            raise BackendError(
                f"backend {self._backend.name} takes no arrays on a GPU; only tensorrt does, "
                "without options that change its input or its flow. Use infer, or load a bundle "
                'that has a plan with backend="tensorrt" alone, and refine="none" if the bundle '
                "asks for a refinement."
            )
        order = caller_stream(stream)
        first, second = image_view(image1, "image1", order), image_view(image2, "image2", order)
        if first.shape != second.shape:
            shapes = f"image1 has shape {first.shape} and image2 {second.shape}"
            raise InputError(f"{shapes}; expected the same shape. Crop one on the device.")
        size = self._padded_size(first.shape)
        place = None if out is None else flow_view(out, (*first.shape[:-1], 2), order)
        with self._wrap_errors(first.shape):
            return self._backend.run_device(first, second, size, out=place, stream=order)

    def _inputs(self, pair: ImagePair) -> tuple[Array, Array]:
        first = network_input(pair.first, pair.size, bgr=pair.bgr)
        return first, network_input(pair.second, pair.size, bgr=pair.bgr)

    def _padded_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        size = padded_size(shape[-3], shape[-2], self._manifest.divisor, self._manifest.smallest)
        computed = network_size(self._backend, size)
        if self._backend.profile is not None:
            check_profile(self._backend.profile, shape, computed, self._manifest.network)
        if (known := (*shape[:-3], *computed)) not in self._sizes:
            # Once a size: afterwards the runtime holds the memory already.
            check_memory(self._manifest, shape, computed)
            self._sizes.add(known)
        return size

    def _batched(self, shape: tuple[int, ...]) -> bool:
        """Return whether a batch of this shape is faster than its halves, and possible."""
        if math.prod(shape[:-1]) > _BATCHED_PIXELS:
            return False
        try:
            self._padded_size(shape)
        except InputError:
            return False
        return True

    @contextlib.contextmanager
    def _wrap_errors(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Re-raise exceptions of the runtime as BackendError with the images' size."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:  # each runtime has its own exception types
            count = shape[0] if len(shape) == 4 else 1
            raise BackendError(
                f"{self._manifest.network}: {self._backend.name} {self._backend.runtime_version} "
                f"failed on {count} pair(s) of {shape[-3]}x{shape[-2]}: {one_line(error)}."
            ) from error


def _cropped(flow: Flows, image: Array, size: tuple[int, ...]) -> Flow:
    """Return the flow of an image, which a backend computed for its padded size, checked."""
    count = image.shape[0] if image.ndim == 4 else 1
    check_flow(flow, (count, *size, 3))
    height, width = image.shape[-3:-1]
    inside = flow[:, :height, :width]
    cropped = np.ascontiguousarray(inside if image.ndim == 4 else inside[0])
    check_finite(cropped)
    return cropped
