"""``engine.load``: check a bundle and open it with a backend."""

import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Literal

from engine.backends.base import Backend
from engine.backends.registry import open_backend
from engine.bundle.manifest import MANIFEST_FILE, Manifest
from engine.bundle.reading import open_whole
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.bundle.signature import parse_trusted
from engine.bundle.verify import verify_files
from engine.call_checks import (
    check_device,
    check_iterations,
    check_max_side,
    check_refine,
    check_streams,
    check_threads,
    check_tile_fits,
    checked_tile,
)
from engine.decorators.downscale import DownscaledBackend
from engine.decorators.global_motion import GlobalMotionBackend
from engine.decorators.tiles import TiledBackend
from engine.decorators.variational import VariationalBackend
from engine.engine import FlowEngine
from engine.errors import BundleError, InputError
from engine.system.threads import available_threads


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    backend: str = "auto",
    device: int = 0,
    threads: int | None = None,
    streams: int = 1,
    compensate_motion: bool = False,
    refine: Literal["variational", "none"] | None = None,
    tile: int | tuple[int, int] | None = None,
    max_side: int | None = None,
    iterations: int | None = None,
    trust: str | os.PathLike[str] | None = None,
    align: bool | None = None,
) -> FlowEngine:
    """Open a bundle, after checking the size and SHA-256 of every file in it.

    Args:
        bundle: a folder written by ``python -m export.build_engine``; by default the one inside
            this package.
        backend: ``"tensorrt"``, ``"onnxruntime-cuda"``, ``"openvino"``, ``"onnxruntime"`` or
            another key of ``engine.backends.registry.BACKENDS``, an error if it cannot run here;
            ``"auto"`` opens the first of these four that can, and logs which, and why not the
            others.
        device: index of the GPU.
        threads: number of CPU threads; by default all that the process may use (its affinity and
            its cgroup's quota).
        streams: number of pairs that ``infer_many`` and ``infer_async`` compute concurrently; they
            share the threads. More streams raise the throughput and the latency of a single pair.
        compensate_motion: whether to compensate global motion: fit an affine motion to the flow of
            a subsampled copy, align the second image by it and run the network on the rest; only
            where that lowers the difference of the images. More accurate under camera motion, in
            2.4 times the time at 384x512. Not available for ``infer_device``; ``stream`` then
            shares no features between frames, and takes motion that is known beforehand.
        refine: ``"variational"`` refines the flow on the CPU by the images alone
            (``engine.refinement``): small errors get smaller, and a flow takes some milliseconds
            more. ``"none"`` leaves the network's own flow; by default as the bundle says
            (``manifest.refine``). Not available for ``infer_device``.
        tile: (height, width), or the side of a square: larger images are computed in overlapping
            tiles of this size, and memory does not grow with the images beyond them and their flow.
            Multiples of the bundle's divisor, at least 256. `streams` tiles are computed at once.
            Not available for ``infer_device``.
        max_side: images with a longer side are downscaled to it (rounded up to a multiple of the
            bundle's divisor), and their flow is upscaled. Needs OpenCV. With ``tile``, the
            downscaled images are computed in tiles. Not available for ``infer_device``.
        iterations: updates of a recurrent network (RAFT), or passes of a coarse-to-fine one: fewer
            are faster, more are more accurate. By default the bundle's own number; passes are at
            most that many, and a TensorRT plan has no other number.
        trust: PEM file with an Ed25519 public key: only a bundle that its owner signed
            (``build_engine --sign``) is opened, and nothing in it is read before. Needs
            cryptography. By default no signature is looked at.
        align: deprecated name of ``compensate_motion``.

    OpenVINO keeps compiled models in ``~/.cache/flownet-engine``; ``$FLOWNET_ENGINE_CACHE`` sets
    another folder, an empty value disables the cache.

    Raises:
        InputError: An argument has the wrong type or is out of range, or the backend is unknown.
        BundleError: The bundle is missing, incomplete, changed, malformed or not signed by
            ``trust``.
        BackendError: The backend (for ``"auto"``, every backend) cannot run the bundle here.
    """
    arguments = locals()
    if align is not None:
        warnings.warn(
            "align is deprecated and will be removed; use compensate_motion.",
            DeprecationWarning,
            stacklevel=2,
        )
        compensate_motion = align
    check_device(device)
    check_threads(threads)
    if type(compensate_motion) is not bool:
        raise InputError(f"compensate_motion is {compensate_motion!r}; expected True or False.")
    check_refine(refine)
    check_streams(streams, threads or available_threads())
    check_max_side(max_side)
    folder = _folder(bundle)

    def opened(text: bytes) -> FlowEngine:
        manifest = parse_trusted(folder, text, trust)
        check_iterations(iterations, manifest)
        tile_size = checked_tile(tile, manifest)
        verify_files(folder, manifest)
        runtime = open_backend(
            backend,
            *(folder, manifest),
            device=device,
            threads=threads,
            streams=streams,
            iterations=iterations,
        )
        changed = {
            "bundle": None if bundle is None else folder.absolute(),
            "backend": runtime.name,
            "trust": None if trust is None else Path(trust).absolute(),
            "compensate_motion": compensate_motion,
            "align": None,
        }
        try:
            decorated = _decorated(
                *(runtime, manifest),
                tile=tile_size,
                refine=manifest.refine if refine is None else refine,
                threads=max(1, (threads or available_threads()) // streams),
                max_side=max_side,
                compensate_motion=compensate_motion,
                streams=streams,
            )
        except BaseException:
            runtime.close()
            raise
        reload = partial(_load_again, manifest, arguments | changed)
        return FlowEngine(manifest, decorated, streams=streams, reload=reload)

    return open_whole(folder, opened)


def _load_again(manifest: Manifest, arguments: dict[str, Any]) -> FlowEngine:
    """Load the same bundle, with the same arguments and backend, in another process.

    Raises:
        BundleError: The bundle is another one by now, or as for ``load``.
        InputError: As for ``load``.
        BackendError: As for ``load``.
    """
    flow_engine = load(**arguments)
    if flow_engine.manifest != manifest:
        flow_engine.close()
        raise BundleError(
            f"the bundle {arguments['bundle'] or DEFAULT_BUNDLE} has changed since the engine was "
            "loaded in another process. Load it again there: engine.load(bundle)."
        )
    return flow_engine


def _decorated(
    backend: Backend,
    manifest: Manifest,
    *,
    tile: tuple[int, int] | None,
    refine: str | None,
    threads: int,
    max_side: int | None,
    compensate_motion: bool,
    streams: int,
) -> Backend:
    """Return the backend with what the arguments of ``load`` put around it."""
    divisor, smallest = manifest.divisor, manifest.smallest
    if tile is not None:
        check_tile_fits(tile, backend.profile)
        backend = TiledBackend(backend, tile, divisor=divisor, streams=streams)
    if refine == "variational":
        backend = VariationalBackend(backend, threads)
    if max_side is not None:
        backend = DownscaledBackend(backend, max_side, divisor=divisor, smallest=smallest)
    if compensate_motion:  # outermost: the motion of the whole image, not of each tile
        backend = GlobalMotionBackend(backend, divisor, smallest)
    return backend


def _folder(bundle: str | os.PathLike[str] | None) -> Path:
    if bundle is None:
        if not (DEFAULT_BUNDLE / MANIFEST_FILE).is_file():
            raise BundleError(
                f"no default bundle is inside this installation ({DEFAULT_BUNDLE}). Build one with "
                "`python -m export.build_engine --network coarse_to_fine_slim -o DIR` and load "
                "DIR."
            )
        return DEFAULT_BUNDLE
    try:
        return Path(bundle)
    except TypeError:
        raise InputError(
            f"bundle is {bundle!r}; expected the path of a folder written by "
            "`python -m export.build_engine`, or None for the one inside this package."
        ) from None
