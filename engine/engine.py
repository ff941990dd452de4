"""FlowEngine: the interface of an opened bundle; ``engine.inference`` has its rules."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Literal, overload

from numpy.typing import ArrayLike

from engine.call_checks import check_is_iterable, check_on_resize, is_bgr, pair_of
from engine.cuda.flow_array import DeviceArray
from engine.engine_base import EngineBase
from engine.errors import EngineError
from engine.frame_stream import FrameStream
from engine.images import LevelsChoice, read_images
from engine.system.ordered_map import map_in_order
from engine.types import Color, Flow, FlowPair, ImageLike, Path

# Arguments that choose between overloads.
Forward = Literal[False]
Both = Literal[True]
Pair = tuple[ImageLike, ImageLike]
OnResize = Literal["error", "restart"]


class FlowEngine(EngineBase):
    """A network on one device; created by ``engine.load``. All methods are thread-safe.

    Use it as a context manager, or call ``close``. A forked process opens the bundle again when it
    first uses the engine, and so does a process that gets it by pickle.

    Attributes:
        manifest: the bundle's manifest.
        backend: the open backend; see ``backend.name`` and ``backend.device``.
        streams: number of pairs that ``infer_many`` and ``infer_async`` compute concurrently.
    """

    @overload
    def infer(
        self, image1: ImageLike, image2: ImageLike, *, color: Color = ..., backward: Forward = ...
    ) -> Flow: ...

    @overload
    def infer(
        self, image1: ImageLike, image2: ImageLike, *, color: Color = ..., backward: Both
    ) -> FlowPair: ...

    def infer(
        self, image1: ImageLike, image2: ImageLike, *, color: Color = "rgb", backward: bool = False
    ) -> Flow | FlowPair:
        """Return the optical flow from the first image to the second.

        Args:
            image1: (H, W, 3), or (N, H, W, 3) for a batch of N pairs, of any H and W: uint8 in
                0..255, or float16, float32 or float64 in 0..1, which is rounded to 8 bits. Grey
                (H, W), (H, W, 1) and (N, H, W, 1) is taken as three equal channels. An array, a CPU
                tensor of PyTorch, an RGB or L image of Pillow or a frame of PyAV; it need not be
                contiguous.
            image2: the same shape and kind of type.
            color: order of the channels of arrays, ``"rgb"`` or ``"bgr"`` (OpenCV).
            backward: whether to return also the flow from the second image to the first, faster
                than by two calls: as one batch, or from the same features of a split bundle.

        Returns:
            (H, W, 2), or (N, H, W, 2), float32 in pixels, x then y. The point (x, y) of the first
            image is at (x + flow[y, x, 0], y + flow[y, x, 1]) in the second. A new C-contiguous
            array. With ``backward``, a tuple of two.

        Raises:
            InputError: The images have an unsupported type, shape, value or size.
            BackendError: The runtime failed, or the engine is closed.
        """
        opened = self._here()
        return opened.flow(opened.inference.checked(image1, image2, color), backward)

    @overload
    def infer_files(
        self,
        path1: Path,
        path2: Path,
        *,
        levels: LevelsChoice | None = ...,
        backward: Forward = ...,
    ) -> Flow: ...

    @overload
    def infer_files(
        self, path1: Path, path2: Path, *, levels: LevelsChoice | None = ..., backward: Both
    ) -> FlowPair: ...

    def infer_files(
        self,
        path1: Path,
        path2: Path,
        *,
        levels: LevelsChoice | None = None,
        backward: bool = False,
    ) -> Flow | FlowPair:
        """Return the optical flow between two picture files, by OpenCV and ``infer``.

        Args:
            path1: the first picture, as for ``engine.images.read_image``.
            path2: the second picture, of the same size.
            levels: values of the pictures that become black and white: ``(low, high)``, or
                ``"percentile"`` for the 1st and 99th of both; see ``engine.images.read_image``.
            backward: as for ``infer``.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
            InputError: A file is missing, no picture or of unknown white level, or as ``infer``.
            BackendError: As ``infer``.
        """
        image1, image2 = read_images((path1, path2), levels=levels)
        opened = self._here()
        return opened.flow(opened.inference.checked(image1, image2, "rgb"), backward)

    @overload
    def infer_async(
        self, image1: ImageLike, image2: ImageLike, *, color: Color = ..., backward: Forward = ...
    ) -> Future[Flow]: ...

    @overload
    def infer_async(
        self, image1: ImageLike, image2: ImageLike, *, color: Color = ..., backward: Both
    ) -> Future[FlowPair]: ...

    def infer_async(
        self, image1: ImageLike, image2: ImageLike, *, color: Color = "rgb", backward: bool = False
    ) -> Future[Flow] | Future[FlowPair]:
        """Start computing the optical flow from the first image to the second, and return.

        ``streams`` pairs are computed concurrently; others wait in a queue. Do not change the
        images before their flow is computed. ``close`` does not cancel queued pairs.

        Args:
            image1: as for ``infer``.
            image2: as for ``infer``.
            color: as for ``infer``.
            backward: as for ``infer``.

        Returns:
            A future. Its ``result`` returns the flow as ``infer`` does, or raises BackendError;
            its ``cancel`` succeeds while the pair is queued.

        Raises:
            InputError: As ``infer``.
            BackendError: The engine is closed, or no thread starts, as at the interpreter's end.
        """
        opened = self._here()
        return opened.submit(opened.inference.checked(image1, image2, color), backward)

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
        opened = self._here()
        with opened.lifetime.borrowed():
            return opened.inference.device_flow(image1, image2, out, stream)

    @overload
    def stream(
        self,
        frames: Iterable[ImageLike],
        *,
        color: Color = ...,
        backward: Forward = ...,
        warm_start: bool = ...,
        motions: Iterable[ArrayLike | None] | None = ...,
        on_resize: OnResize = ...,
    ) -> Iterator[Flow]: ...

    @overload
    def stream(
        self,
        frames: Iterable[ImageLike],
        *,
        color: Color = ...,
        backward: Both,
        on_resize: OnResize = ...,
    ) -> Iterator[FlowPair]: ...

    def stream(
        self,
        frames: Iterable[ImageLike],
        *,
        color: Color = "rgb",
        backward: bool = False,
        warm_start: bool = False,
        motions: Iterable[ArrayLike | None] | None = None,
        on_resize: OnResize = "error",
    ) -> Iterator[Flow] | Iterator[FlowPair]:
        """Return the flow from each frame to the next: one less than there are frames.

        Work on a single frame is done once: padding always, and the first layers of the network
        with a split bundle (``build_engine --split``). The source may reuse its buffer.

        After an error the iterator may be used on: it continues with the next pair of frames that
        follow each other.

        Args:
            frames: images as for ``infer``, all of the same shape and kind of type.
            color: as for ``infer``.
            backward: as for ``infer``; not with ``warm_start`` or ``motions``.
            warm_start: whether a recurrent network (RAFT) starts from the last flow, carried
                forward along itself, instead of from no motion. Needs a split bundle.
            on_resize: ``"error"`` raises at a frame of another size, ``"restart"`` yields no flow
                to it; the frames after it continue either way.
            motions: global motion from each frame to the next, where it is known, in place of the
                estimate of ``compensate_motion``, which the engine needs: a (2, 3) matrix A, the
                point (x, y) of the frame is at A (x, y, 1) in the next; or None. It is read after
                the next frame.

        Raises:
            InputError: As ``infer``, with the index of the frame; or ``backward`` is excluded.
            BackendError: As ``infer``, or the engine has no ``warm_start`` or takes no ``motions``.
        """
        check_is_iterable(frames, "frames", "arrays")
        bgr, restart = is_bgr(color), check_on_resize(on_resize)
        opened = self._here()
        with opened.lifetime.borrowed():
            run = opened.inference.run_of(backward=backward, warm_start=warm_start, motions=motions)
        return FrameStream(frames, opened, run, bgr=bgr, restart=restart)

    @overload
    def infer_many(
        self, pairs: Iterable[Pair], *, color: Color = ..., backward: Forward = ...
    ) -> Iterator[Flow]: ...

    @overload
    def infer_many(
        self, pairs: Iterable[Pair], *, color: Color = ..., backward: Both
    ) -> Iterator[FlowPair]: ...

    def infer_many(
        self, pairs: Iterable[Pair], *, color: Color = "rgb", backward: bool = False
    ) -> Iterator[Flow] | Iterator[FlowPair]:
        """Return the flow of each pair, in order; ``streams`` pairs are computed concurrently.

        For throughput over many pairs. For a live video use ``stream``. The source is read two
        pairs per stream ahead of the results, so it may be endless; do not change an image before
        its flow is returned. The worker threads end when the iterator is exhausted, raises, is
        closed or is collected.

        Args:
            pairs: ``(image1, image2)`` as for ``infer``; pairs may differ in size.
            color: as for ``infer``.
            backward: as for ``infer``.

        Raises:
            InputError: As ``infer``, after the flows of the pairs before; the message has the
                index of the pair, from 0.
            BackendError: As ``infer``, likewise.
        """
        check_is_iterable(pairs, "pairs", "pairs of arrays")
        is_bgr(color)

        def flow_of(index: int, pair: Pair) -> Any:  # what `backward` says
            try:
                opened = self._here()
                checked = opened.inference.checked(*pair_of(pair), color)
                return opened.flow(checked, backward)
            except EngineError as error:
                raise type(error)(f"pair {index}: {error}") from error

        return map_in_order(flow_of, pairs, threads=self.streams)
