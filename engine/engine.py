"""FlowEngine: validates images, pads them, runs the backend and crops the flow."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.backends.base import Backend, DeviceBackend
from engine.bundle.manifest import Manifest
from engine.call_checks import check_is_no_path, check_profile, is_bgr, pair_of
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import caller_stream, flow_view, image_view
from engine.errors import BackendError, EngineError, InputError, one_line
from engine.images import check_same_kind, checked_image, network_input, padded_size
from engine.lifetime import Lifetime
from engine.recurrence import WarmStart, check_memory
from engine.system.ordered_map import map_in_order
from engine.types import Array, Color, Flow


class FlowEngine:
    """A network on one device; created by ``engine.load``. All methods are thread-safe.

    Use it as a context manager, or call ``close``. Create it after a fork, not before: threads of
    the runtimes do not survive one.

    Attributes:
        manifest: the bundle's manifest.
        backend: the open backend; see ``backend.name`` and ``backend.device``.
        streams: number of pairs that ``infer_many`` and ``infer_async`` compute concurrently.
    """

    def __init__(self, manifest: Manifest, backend: Backend, *, streams: int = 1) -> None:
        """Take ownership of an open backend."""
        self.manifest = manifest
        self.backend = backend
        self.streams = streams
        self._sizes: set[tuple[int, ...]] = set()  # that fit in memory
        # The pool starts its threads on demand, for infer_async only.
        self._threads = ThreadPoolExecutor(streams, thread_name_prefix="flow-async")
        self._lifetime = Lifetime(self._release)

    def __repr__(self) -> str:
        """Return e.g. ``<FlowEngine flownets_slim fp32, openvino on cpu>``."""
        network = f"{self.manifest.network} {self.manifest.precision}"
        return f"<FlowEngine {network}, {self.backend.name} on {self.backend.device}>"

    def infer(self, image1: ArrayLike, image2: ArrayLike, *, color: Color = "rgb") -> Flow:
        """Return the optical flow from the first image to the second.

        Args:
            image1: (H, W, 3), or (N, H, W, 3) for a batch of N pairs, of any H and W: uint8 in
                0..255, or float16, float32 or float64 in 0..1, which is rounded to 8 bits. It
                need not be contiguous.
            image2: the same shape and kind of type.
            color: order of the channels, ``"rgb"`` or ``"bgr"`` (OpenCV).

        Returns:
            (H, W, 2), or (N, H, W, 2), float32 in pixels, x then y. The point (x, y) of the first
            image is at (x + flow[y, x, 0], y + flow[y, x, 1]) in the second. A new C-contiguous
            array.

        Raises:
            InputError: The images have an unsupported type, shape, value or size.
            BackendError: The runtime failed, or the engine is closed.
        """
        pair = self._checked(image1, image2, color)
        with self._lifetime.borrowed():
            return self._flow(*pair)

    def infer_async(
        self, image1: ArrayLike, image2: ArrayLike, *, color: Color = "rgb"
    ) -> Future[Flow]:
        """Start computing the optical flow from the first image to the second, and return.

        ``streams`` pairs are computed concurrently; others wait in a queue. Do not change the
        images before their flow is computed. ``close`` does not cancel queued pairs.

        Args:
            image1: as for ``infer``.
            image2: as for ``infer``.
            color: as for ``infer``.

        Returns:
            A future. Its ``result`` returns the flow as ``infer`` does, or raises BackendError;
            its ``cancel`` succeeds while the pair is queued.

        Raises:
            InputError: As ``infer``.
            BackendError: The engine is closed.
        """
        pair = self._checked(image1, image2, color)
        self._lifetime.borrow()
        try:
            future = self._threads.submit(self._flow, *pair)
        except BaseException:
            self._lifetime.give_back()
            raise
        future.add_done_callback(lambda _: self._lifetime.give_back())
        return future

    def infer_device(
        self, image1: object, image2: object, *, out: object = None, stream: object = None
    ) -> DeviceArray:
        """Return the optical flow between two images on the GPU, without a copy through the host.

        Backend ``"tensorrt"`` only. A contiguous image is read in place if its height and width are
        multiples of ``manifest.divisor``; other images are padded on the GPU.

        Args:
            image1: (H, W, 3) or (N, H, W, 3) uint8 RGB on the engine's GPU: an array with
                ``__cuda_array_interface__`` (PyTorch, CuPy, PyCUDA, Numba) or ``__dlpack__``. Rows
                may have a stride, as in a crop of a larger image; the pixels of a row may not.
            image2: the same shape.
            out: an array of one of these kinds, float32, C-contiguous, (H, W, 2) or (N, H, W, 2),
                that receives the flow; None allocates a new array.
            stream: None: the images are read after the work on the legacy default stream, and the
                call returns when the flow is computed. A stream of PyTorch, CuPy or PyCUDA, or its
                handle: the work is queued on it, and the call returns at once. Keep the images and
                ``out`` until the stream has executed it, and the stream as long as the result.

        Returns:
            (H, W, 2), or (N, H, W, 2), float32 with the values of ``infer``; a new array, or
            ``out``.

        Raises:
            InputError: The arrays have an unsupported type, shape, layout, device or size.
            BackendError: The backend does not support device arrays, the GPU reported an error
                (possibly of earlier work), or the engine is closed.
        """
        if not isinstance(self.backend, DeviceBackend):
            raise BackendError(
                f"backend {self.backend.name} takes no arrays on a GPU; only tensorrt does, "
                "without compensate_motion. Use infer, or load a bundle that has a plan with "
                'backend="tensorrt".'
            )
        order = caller_stream(stream)
        first, second = image_view(image1, "image1", order), image_view(image2, "image2", order)
        if first.shape != second.shape:
            shapes = f"image1 has shape {first.shape} and image2 {second.shape}"
            raise InputError(f"{shapes}; expected the same shape. Crop one on the device.")
        size = self._padded_size(first.shape)
        place = None if out is None else flow_view(out, (*first.shape[:-1], 2), order)
        with self._lifetime.borrowed(), self._wrap_errors(first.shape):
            return self.backend.run_device(first, second, size, out=place, stream=order)

    def stream(
        self, frames: Iterable[ArrayLike], *, color: Color = "rgb", warm_start: bool = False
    ) -> Iterator[Flow]:
        """Return the flow from each frame to the next: one less than there are frames.

        Work on a single frame is done once: padding always, and the first layers of the network
        with a split bundle (``build_engine --split``). The source may reuse its buffer.

        Args:
            frames: images as for ``infer``, all of the same shape and kind of type.
            color: as for ``infer``.
            warm_start: whether a recurrent network (RAFT) starts from the last flow, carried
                forward along itself, instead of from no motion. Needs a split bundle.

        Raises:
            InputError: As ``infer``; the message has the index of the frame, from 0.
            BackendError: As ``infer``, or the engine has no ``warm_start``.
        """
        check_is_no_path(frames, "frames", "arrays")
        run = WarmStart(self.manifest, self.backend).run if warm_start else self.backend.run
        return self._stream(frames, is_bgr(color), run)

    def _stream(
        self, frames: Iterable[ArrayLike], bgr: bool, run: Callable[[Any, Any], Flow]
    ) -> Iterator[Flow]:
        previous: tuple[Array, Any] | None = None
        for index, frame in enumerate(frames):
            image = checked_image(frame, f"frame {index}")
            if previous is not None:
                check_same_kind(previous[0], image, (f"frame {index - 1}", f"frame {index}"))
            try:
                size = self._padded_size(image.shape)
            except InputError as error:
                raise InputError(f"frame {index}: {error}") from error
            padded = network_input(image, size, bgr=bgr, copy=True)
            flow = None
            with self._lifetime.borrowed(), self._wrap_errors(image.shape):
                prepared = self.backend.prepare(padded)
                if previous is not None:
                    flow = run(previous[1], prepared)
            previous = image, prepared
            if flow is not None:
                yield _cropped(flow, image)

    def infer_many(
        self, pairs: Iterable[tuple[ArrayLike, ArrayLike]], *, color: Color = "rgb"
    ) -> Iterator[Flow]:
        """Return the flow of each pair, in order; ``streams`` pairs are computed concurrently.

        For throughput over many pairs. For a live video use ``stream``. The source is read two
        pairs per stream ahead of the results, so it may be endless; do not change an image before
        its flow is returned. The worker threads end when the iterator is exhausted, raises, is
        closed or is collected.

        Args:
            pairs: ``(image1, image2)`` as for ``infer``; pairs may differ in size.
            color: as for ``infer``.

        Raises:
            InputError: As ``infer``, after the flows of the pairs before; the message has the
                index of the pair, from 0.
            BackendError: As ``infer``, likewise.
        """
        check_is_no_path(pairs, "pairs", "pairs of arrays")
        is_bgr(color)

        def flow_of(index: int, pair: tuple[ArrayLike, ArrayLike]) -> Flow:
            try:
                return self.infer(*pair_of(pair), color=color)
            except EngineError as error:
                raise type(error)(f"pair {index}: {error}") from error

        return map_in_order(flow_of, pairs, threads=self.streams)

    def close(self) -> None:
        """Free the model when the running and queued calls are done; does not wait for them.

        May be called more than once.
        """
        self._lifetime.close()

    def __enter__(self) -> "FlowEngine":
        """Return the engine itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()

    def _checked(
        self, image1: ArrayLike, image2: ArrayLike, color: str
    ) -> tuple[Array, Array, tuple[int, int], bool]:
        bgr = is_bgr(color)
        first = checked_image(image1, "image1")
        second = checked_image(image2, "image2")
        check_same_kind(first, second, ("image1", "image2"))
        return first, second, self._padded_size(first.shape), bgr

    def _flow(self, first: Array, second: Array, size: tuple[int, int], bgr: bool) -> Flow:
        images = [network_input(image, size, bgr=bgr) for image in (first, second)]
        with self._wrap_errors(first.shape):
            flow = self.backend.run(*map(self.backend.prepare, images))
        return _cropped(flow, first)

    def _padded_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        size = padded_size(shape[-3], shape[-2], self.manifest.divisor, self.manifest.smallest)
        if self.backend.profile is not None:
            check_profile(self.backend.profile, shape, size, self.manifest.network)
        if (known := (*shape[:-3], *size)) not in self._sizes:
            # Once a size: afterwards the runtime holds the memory already.
            check_memory(self.manifest, shape, size)
            self._sizes.add(known)
        return size

    def _release(self) -> None:
        self._threads.shutdown(wait=False)  # the caller may be one of these threads
        self.backend.close()

    @contextlib.contextmanager
    def _wrap_errors(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Re-raise runtime exceptions as BackendError with the image size."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:  # each runtime has its own exception types
            count = shape[0] if len(shape) == 4 else 1
            raise BackendError(
                f"{self.manifest.network}: {self.backend.name} {self.backend.runtime_version} "
                f"failed on {count} pair(s) of {shape[-3]}x{shape[-2]}: {one_line(error)}."
            ) from error


def _cropped(flow: Flow, image: Array) -> Flow:
    height, width = image.shape[-3:-1]
    inside = flow[:, :height, :width]
    return np.ascontiguousarray(inside if image.ndim == 4 else inside[0])
