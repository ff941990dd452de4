"""FlowEngine: check, lay out, pad, run, crop; what every backend shares."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.backends.base import Backend, DeviceBackend
from engine.bundle.manifest import Manifest
from engine.call_checks import both_of, check_is_no_path, check_profile, is_bgr
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import caller_stream, flow_view, image_view
from engine.errors import BackendError, EngineError, InputError, one_line
from engine.images import check_alike, checked_image, network_input, padded_size
from engine.system.ordered_map import map_in_order

Flow = NDArray[np.float32]
Color = Literal["rgb", "bgr"]


class FlowEngine:
    """A network on one device, for any number of threads. Made by ``engine.load``.

    Use it as a context manager, or call ``close``. Create it after a fork, not before: the
    runtimes' own threads do not survive one.

    Attributes:
        manifest: what the bundle says about itself.
        backend: the runtime that was opened; ``backend.name`` and ``backend.device`` say which.
        streams: how many flows ``infer_many`` and ``infer_async`` compute side by side.
    """

    def __init__(self, manifest: Manifest, backend: Backend, *, streams: int = 1) -> None:
        """Take over an open backend."""
        self.manifest = manifest
        self.backend = backend
        self.streams = streams
        # Its threads start with what infer_async gives them.
        self._threads = ThreadPoolExecutor(streams, thread_name_prefix="flow-async")
        self._lock = threading.Lock()
        self._running = 0
        self._closed = False

    def __repr__(self) -> str:
        """Return e.g. ``<FlowEngine flownets_slim fp32, openvino on cpu>``."""
        network = f"{self.manifest.network} {self.manifest.precision}"
        return f"<FlowEngine {network}, {self.backend.name} on {self.backend.device}>"

    def infer(self, image1: ArrayLike, image2: ArrayLike, *, color: Color = "rgb") -> Flow:
        """Return the optical flow from the first image to the second.

        Args:
            image1: (H, W, 3), or (N, H, W, 3) for N pairs at once, any H and W from 1 up: uint8
                in 0..255, or float16, float32 or float64 in 0..1, which is rounded to 8 bits. It
                need not be contiguous.
            image2: the same shape and kind.
            color: order of the channels, ``"rgb"`` or ``"bgr"`` (OpenCV).

        Returns:
            (H, W, 2), or (N, H, W, 2), float32 in pixels, x then y: what is at (x, y) in the first
            image is at (x + flow[y, x, 0], y + flow[y, x, 1]) in the second. C-contiguous, yours.

        Raises:
            InputError: The images cannot be used as they are, or are beyond the plan's sizes.
            BackendError: The runtime failed, or the engine is closed.
        """
        pair = self._checked(image1, image2, color)
        with self._in_use():
            return self._flow(*pair)

    def infer_async(
        self, image1: ArrayLike, image2: ArrayLike, *, color: Color = "rgb"
    ) -> Future[Flow]:
        """Return at once what will hold the flow from the first image to the second.

        ``streams`` flows are computed side by side, the others wait their turn. The images may not
        change before their flow is there. ``close`` takes back nothing: what was asked for before
        is still computed.

        Args:
            image1: as for ``infer``.
            image2: as for ``infer``.
            color: as for ``infer``.

        Returns:
            A future, whose ``result`` is the flow as ``infer`` returns it, or raises BackendError;
            ``cancel`` works for as long as its turn has not come.

        Raises:
            InputError: As ``infer``.
            BackendError: The engine is closed.
        """
        pair = self._checked(image1, image2, color)
        self._enter()
        try:
            future = self._threads.submit(self._flow, *pair)
        except BaseException:
            self._leave()
            raise
        future.add_done_callback(lambda _: self._leave())
        return future

    def infer_device(
        self, image1: object, image2: object, *, out: object = None, stream: object = None
    ) -> DeviceArray:
        """Return the optical flow between two images on the GPU, without a copy through the host.

        With ``backend="tensorrt"`` alone. An image whose height and width are multiples of
        ``manifest.divisor`` is read where it is if it is contiguous, as is a new array of any
        library; any other image is padded on the GPU.

        Args:
            image1: (H, W, 3) or (N, H, W, 3) uint8 RGB, on the engine's GPU: an array with
                ``__cuda_array_interface__`` (PyTorch, CuPy, PyCUDA, Numba) or ``__dlpack__``. Rows
                may lie apart, as in a crop of a larger image, the pixels of a row may not.
            image2: the same shape.
            out: an array of the same kinds, float32 and C-contiguous, (H, W, 2) or (N, H, W, 2),
                that the flow is written to; nothing is allocated then. None: a new one.
            stream: None: the images are read after what is on the legacy default stream, and the
                flow is there on return. A stream of PyTorch, CuPy or PyCUDA, or the handle of one:
                the work is ordered in it, and the call returns before it is done. Keep the images
                and ``out`` until the stream has passed, and the stream as long as the result.

        Returns:
            (H, W, 2), or (N, H, W, 2), float32 as ``infer`` returns it: a new array, or ``out``.

        Raises:
            InputError: The arrays cannot be used as they are, or are beyond the plan's sizes.
            BackendError: The backend takes no device arrays, the GPU failed (in the work before,
                perhaps), or the engine is closed.
        """
        if not isinstance(self.backend, DeviceBackend):
            raise BackendError(
                f"backend {self.backend.name} takes no arrays on a GPU; only tensorrt does, "
                'without align. Use infer, or load a bundle with a plan with backend="tensorrt".'
            )
        order = caller_stream(stream)
        first, second = image_view(image1, "image1", order), image_view(image2, "image2", order)
        if first.shape != second.shape:
            shapes = f"image1 has shape {first.shape} and image2 {second.shape}"
            raise InputError(f"{shapes}; expected the same shape. Crop one on the device.")
        size = self._padded_size(first.shape)
        place = None if out is None else flow_view(out, (*first.shape[:-1], 2), order)
        with self._in_use(), self._told(first.shape):
            return self.backend.run_device(first, second, size, out=place, stream=order)

    def stream(self, frames: Iterable[ArrayLike], *, color: Color = "rgb") -> Iterator[Flow]:
        """Return the flow of each frame to the next, one less than there are frames.

        What concerns one frame alone is done once: layout always, and with a bundle of two graphs
        (``build_engine --split``) the network's first layers. The source may reuse its buffer.

        Args:
            frames: images as ``infer`` takes them, all of the same shape and kind.
            color: as for ``infer``.

        Raises:
            InputError: As ``infer``; the message counts the frames from 0.
            BackendError: As ``infer``.
        """
        check_is_no_path(frames, "frames", "arrays")
        return self._stream(frames, is_bgr(color))

    def _stream(self, frames: Iterable[ArrayLike], bgr: bool) -> Iterator[Flow]:
        previous: tuple[NDArray[Any], Any] | None = None
        for index, frame in enumerate(frames):
            image = checked_image(frame, f"frame {index}")
            if previous is not None:
                check_alike(previous[0], image, (f"frame {index - 1}", f"frame {index}"))
            try:
                size = self._padded_size(image.shape)
            except InputError as error:
                raise InputError(f"frame {index}: {error}") from error
            laid_out = network_input(image, size, bgr=bgr, copy=True)
            flow = None
            with self._in_use(), self._told(image.shape):
                prepared = self.backend.prepare(laid_out)
                if previous is not None:
                    flow = self.backend.run(previous[1], prepared)
            previous = image, prepared
            if flow is not None:
                yield _cropped(flow, image)

    def infer_many(
        self, pairs: Iterable[tuple[ArrayLike, ArrayLike]], *, color: Color = "rgb"
    ) -> Iterator[Flow]:
        """Return the flow of each pair, in order, ``streams`` of them computed side by side.

        For many pairs and no hurry about any one of them; for a video as it comes, use ``stream``.
        Two pairs per stream are taken from the source before their flows are asked for, so it may
        be endless, and an image may not change before its flow is there. The threads that compute
        end with the iterator: when it is exhausted, raises, is closed or collected.

        Args:
            pairs: ``(image1, image2)`` as ``infer`` takes them; each pair may have its own size.
            color: as for ``infer``.

        Raises:
            InputError: As ``infer``; the message counts the pairs from 0. The flows of the pairs
                before it come first.
            BackendError: As ``infer``, likewise.
        """
        check_is_no_path(pairs, "pairs", "pairs of arrays")
        is_bgr(color)

        def flow_of(index: int, pair: tuple[ArrayLike, ArrayLike]) -> Flow:
            try:
                return self.infer(*both_of(pair), color=color)
            except EngineError as error:
                raise type(error)(f"pair {index}: {error}") from error

        return map_in_order(flow_of, pairs, threads=self.streams)

    def close(self) -> None:
        """Free the model, as soon as nothing runs in it any more. May be called again.

        That is when the calls in other threads, and what ``infer_async`` was asked for, are done;
        ``close`` does not wait for them.
        """
        with self._lock:
            idle = not self._closed and not self._running
            self._closed = True
        if idle:
            self._free()

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
    ) -> tuple[NDArray[Any], NDArray[Any], tuple[int, int], bool]:
        bgr = is_bgr(color)
        first = checked_image(image1, "image1")
        second = checked_image(image2, "image2")
        check_alike(first, second, ("image1", "image2"))
        return first, second, self._padded_size(first.shape), bgr

    def _flow(
        self, first: NDArray[Any], second: NDArray[Any], size: tuple[int, int], bgr: bool
    ) -> Flow:
        images = [network_input(image, size, bgr=bgr) for image in (first, second)]
        with self._told(first.shape):
            flow = self.backend.run(*map(self.backend.prepare, images))
        return _cropped(flow, first)

    def _padded_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        size = padded_size(shape[-3], shape[-2], self.manifest.divisor)
        if self.backend.profile is not None:
            check_profile(self.backend.profile, shape, size, self.manifest.network)
        return size

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep the backend open for the calls inside."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if self._closed:
                raise BackendError("this engine is closed. Load another: engine.load(bundle).")
            self._running += 1

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            last = self._closed and not self._running
        if last:
            self._free()

    def _free(self) -> None:
        self._threads.shutdown(wait=False)  # it may be one of them that is here
        self.backend.close()

    @contextlib.contextmanager
    def _told(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Tell the backend's errors with the images, whose shape this is."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:  # each runtime has its own kinds
            count = shape[0] if len(shape) == 4 else 1
            raise BackendError(
                f"{self.manifest.network}: {self.backend.name} {self.backend.runtime_version} "
                f"failed on {count} pair(s) of {shape[-3]}x{shape[-2]}: {one_line(error)}."
            ) from error


def _cropped(flow: Flow, image: NDArray[Any]) -> Flow:
    height, width = image.shape[-3:-1]
    inside = flow[:, :height, :width]
    return np.ascontiguousarray(inside if image.ndim == 4 else inside[0])
