"""``engine.load``: a bundle checked, and opened with the backend that was asked for."""

import os
from pathlib import Path

from engine.backends.registry import open_backend
from engine.bundle.manifest import MANIFEST_FILE, read_manifest, verify_files
from engine.engine import FlowEngine
from engine.errors import BundleError, InputError
from engine.global_motion import AlignedBackend
from engine.system.threads import available_threads

DEFAULT_BUNDLE = Path(__file__).parent / "bundle" / "default"


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    backend: str = "auto",
    device: int = 0,
    threads: int | None = None,
    streams: int = 1,
    align: bool = False,
) -> FlowEngine:
    """Open a bundle, after checking the size and SHA-256 of every file in it.

    Args:
        bundle: a folder written by ``python -m export.build_engine``; by default the one inside
            this package.
        backend: ``"tensorrt"``, ``"onnxruntime-cuda"``, ``"openvino"`` or ``"onnxruntime"`` (or
            another of ``engine.backends.registry.BACKENDS``), an error if it cannot run here;
            ``"auto"`` takes the first of these that can and logs which, and why not the others.
        device: index of the GPU.
        threads: CPU threads; by default as many as this process may use (affinity and cgroup).
        streams: how many flows ``infer_many`` and ``infer_async`` compute side by side, at most
            one per thread; the threads are shared among them. That is for throughput: a single
            flow takes longer.
        align: whether to find the motion that most of the picture shares first, in a small copy,
            and to let the network see what is left: more exact where the camera moves, and slower
            by half at 384x512. Not for ``infer_device``; ``stream`` shares no features then.

    What OpenVINO compiles is kept for the next process in ``~/.cache/flownet-engine``;
    ``$FLOWNET_ENGINE_CACHE`` chooses another folder, and empty means none.

    Raises:
        InputError: An argument is of the wrong type or out of range, or no backend has this name.
        BundleError: The bundle is missing, incomplete, changed or malformed.
        BackendError: The backend (for ``"auto"``, every backend) cannot run the bundle here.
    """
    check_device(device)
    check_threads(threads)
    if type(align) is not bool:
        raise InputError(f"align is {align!r}; expected True or False.")
    _check_streams(streams, threads or available_threads())
    if bundle is None and not (DEFAULT_BUNDLE / MANIFEST_FILE).is_file():
        raise BundleError(
            f"no default bundle is inside this installation ({DEFAULT_BUNDLE}). Build one with "
            "`python -m export.build_engine --network flownets_pyramid_slim -o DIR` and load DIR."
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
    aligned = AlignedBackend(opened, manifest.divisor) if align else opened
    return FlowEngine(manifest, aligned, streams=streams)


def check_device(device: int) -> None:
    """Raise ``InputError`` for what is no index of a GPU."""
    if type(device) is not int or device < 0:
        raise InputError(f"device is {device!r}; expected the index of a GPU, 0 or more.")


def check_threads(threads: int | None) -> None:
    """Raise ``InputError`` for what is no number of CPU threads."""
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"threads is {threads!r}; expected a number from 1 up, or None for all.")


def _check_streams(streams: int, threads: int) -> None:
    if type(streams) is not int or streams < 1:
        raise InputError(f"streams is {streams!r}; expected a number from 1 up.")
    if streams > threads:
        raise InputError(
            f"streams is {streams}, but there are {threads} CPU threads to share among them; "
            f"expected at most {threads}. Ask for fewer streams, or for more threads."
        )
