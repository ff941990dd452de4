"""FlowEngine: check, lay out, pad, run, crop; what every backend shares."""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.backends import Backend, available_threads, one_line, open_backend
from engine.errors import BackendError, BundleError, EngineError, InputError, nearest
from engine.images import Image, check_alike, checked_image, network_input, padded_size
from engine.manifest import MANIFEST_FILE, Manifest, SizeProfile, read_manifest, verify_files
from engine.parallel import map_in_order

DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"

Flow = NDArray[np.float32]
Color = Literal["rgb", "bgr"]


class FlowEngine:
    """A network on one device, for any number of threads. Made by ``engine.load``.

    Use it as a context manager, or call ``close``. Create it after a fork, not before: the
    runtimes' own threads do not survive one.

    Attributes:
        manifest: what the bundle says about itself.
        backend: the runtime that was opened; ``backend.name`` and ``backend.device`` say which.
        streams: how many flows ``infer_many`` computes side by side.
    """

    def __init__(self, manifest: Manifest, backend: Backend, *, streams: int = 1) -> None:
        """Take over an open backend."""
        self.manifest = manifest
        self.backend = backend
        self.streams = streams
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
        bgr = _is_bgr(color)
        first = checked_image(image1, "image1")
        second = checked_image(image2, "image2")
        check_alike(first, second, ("image1", "image2"))
        size = self._padded_size(first)
        images = [network_input(image, size, bgr=bgr) for image in (first, second)]
        with self._open_backend(images[0]) as backend:
            flow = backend.run(*map(backend.prepare, images))
        return _cropped(flow, first)

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
        _check_is_no_path(frames, "frames", "arrays")
        return self._stream(frames, _is_bgr(color))

    def _stream(self, frames: Iterable[ArrayLike], bgr: bool) -> Iterator[Flow]:
        previous: tuple[NDArray[Any], Any] | None = None
        for index, frame in enumerate(frames):
            image = checked_image(frame, f"frame {index}")
            if previous is not None:
                check_alike(previous[0], image, (f"frame {index - 1}", f"frame {index}"))
            laid_out = network_input(image, self._padded_size(image), bgr=bgr, copy=True)
            flow = None
            with self._open_backend(laid_out) as backend:
                prepared = backend.prepare(laid_out)
                if previous is not None:
                    flow = backend.run(previous[1], prepared)
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
        _check_is_no_path(pairs, "pairs", "pairs of arrays")
        _is_bgr(color)

        def flow_of(index: int, pair: tuple[ArrayLike, ArrayLike]) -> Flow:
            try:
                return self.infer(*_both(pair), color=color)
            except EngineError as error:
                raise type(error)(f"pair {index}: {error}") from error

        return map_in_order(flow_of, pairs, threads=self.streams)

    def close(self) -> None:
        """Free the model, as soon as no thread runs it any more. May be called again."""
        with self._lock:
            idle = not self._closed and not self._running
            self._closed = True
        if idle:
            self.backend.close()

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

    def _padded_size(self, image: NDArray[Any]) -> tuple[int, int]:
        height, width = image.shape[-3:-1]
        size = padded_size(height, width, self.manifest.divisor)
        if self.backend.profile is not None:
            count = image.shape[0] if image.ndim == 4 else 1
            self._check_profile(self.backend.profile, count, size, (height, width))
        return size

    def _check_profile(
        self, profile: SizeProfile, count: int, size: tuple[int, int], given: tuple[int, int]
    ) -> None:
        network = self.manifest.network
        (fewest, *low), (most, *high) = profile.min, profile.max
        if not fewest <= count <= most:
            raise InputError(
                f"{network}: the batch has {count} pairs; the plan's profile allows {fewest} to "
                f"{most}. Split the batch or fill it up."
            )
        for limit, word, option, bound in (
            (high, "at most", "--max-size", max),
            (low, "at least", "--min-size", min),
        ):
            needed = [bound(pair) for pair in zip(size, limit, strict=True)]
            if needed != limit:
                raise InputError(
                    f"{network}: image is {_by(given)} (padded {_by(size)}); the plan's profile "
                    f"allows {word} {_by(limit)}. Rebuild with {option} {_by(needed)}."
                )

    @contextlib.contextmanager
    def _open_backend(self, images: Image) -> Iterator[Backend]:
        """Keep the backend open for the calls inside, and tell its errors with their images."""
        with self._lock:
            if self._closed:
                raise BackendError("this engine is closed. Load another: engine.load(bundle).")
            self._running += 1
        try:
            yield self.backend
        except EngineError:
            raise
        except Exception as error:  # each runtime has its own kinds
            raise BackendError(
                f"{self.manifest.network}: {self.backend.name} {self.backend.runtime_version} "
                f"failed on {len(images)} pair(s) of {_by(images.shape[1:3])}: {one_line(error)}."
            ) from error
        finally:
            with self._lock:
                self._running -= 1
                last = self._closed and not self._running
            if last:
                self.backend.close()


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    backend: str = "auto",
    device: int = 0,
    threads: int | None = None,
    streams: int = 1,
) -> FlowEngine:
    """Open a bundle, after checking the size and SHA-256 of every file in it.

    Args:
        bundle: a folder written by ``python -m export.build_engine``; by default the one inside
            this package.
        backend: ``"tensorrt"``, ``"onnxruntime-cuda"``, ``"openvino"`` or ``"onnxruntime"``, which
            is an error if it cannot run here; ``"auto"`` takes the first of them that can and logs
            which, and why not the others.
        device: index of the GPU.
        threads: CPU threads; by default as many as this process may use (affinity and cgroup).
        streams: how many flows ``infer_many`` computes side by side, at most one per thread; the
            threads are shared among them. That is for throughput: a single flow takes longer.

    Raises:
        InputError: An argument is of the wrong type or out of range, or no backend has this name.
        BundleError: The bundle is missing, incomplete, changed or malformed.
        BackendError: The backend (for ``"auto"``, every backend) cannot run the bundle here.
    """
    if type(device) is not int or device < 0:
        raise InputError(f"device is {device!r}; expected the index of a GPU, 0 or more.")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"threads is {threads!r}; expected a number from 1 up, or None for all.")
    _check_streams(streams, threads or available_threads())
    if bundle is None and not (DEFAULT_BUNDLE / MANIFEST_FILE).is_file():
        raise BundleError(
            f"no default bundle is inside this installation ({DEFAULT_BUNDLE}). Build one with "
            "`python -m export.build_engine --network flownets_slim -o DIR` and load DIR."
        )
    try:
        folder = DEFAULT_BUNDLE if bundle is None else Path(bundle)
    except TypeError:
        raise InputError(
            f"bundle is {bundle!r}; expected the path of a folder written by "
            "`python -m export.build_engine`, or None for the one inside this package."
        ) from None
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    opened = open_backend(
        backend, folder, manifest, device=device, threads=threads, streams=streams
    )
    return FlowEngine(manifest, opened, streams=streams)


def _check_streams(streams: int, threads: int) -> None:
    if type(streams) is not int or streams < 1:
        raise InputError(f"streams is {streams!r}; expected a number from 1 up.")
    if streams > threads:
        raise InputError(
            f"streams is {streams}, but there are {threads} CPU threads to share among them; "
            f"expected at most {threads}. Ask for fewer streams, or for more threads."
        )


def _is_bgr(color: str) -> bool:
    if color not in ("rgb", "bgr"):
        guess = nearest(color, ("rgb", "bgr")) if isinstance(color, str) else ""
        raise InputError(f"color is {color!r}; expected 'rgb' or 'bgr'.{guess}")
    return color == "bgr"


def _check_is_no_path(source: object, name: str, items: str) -> None:
    if isinstance(source, str | bytes | os.PathLike):
        raise InputError(
            f"{name} is a path ({os.fspath(source)!r}); expected an iterable of {items} (H, W, 3). "
            "Read them first, e.g. with engine.images.read_image."
        )


def _both(pair: tuple[ArrayLike, ArrayLike]) -> tuple[ArrayLike, ArrayLike]:
    try:
        image1, image2 = pair
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected (image1, image2), not {type(pair).__name__}: {error}. For the flow of each "
            "frame of a video to the next, use stream."
        ) from None
    return image1, image2


def _cropped(flow: Flow, image: NDArray[Any]) -> Flow:
    height, width = image.shape[-3:-1]
    inside = flow[:, :height, :width]
    return np.ascontiguousarray(inside if image.ndim == 4 else inside[0])


def _by(size: Iterable[int]) -> str:
    return "x".join(map(str, size))
