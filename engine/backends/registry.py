"""Backends: one file per runtime, imported on use, and how one is chosen."""

import hashlib
import importlib
import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.bundle.manifest import BundleFile, Manifest, SizeProfile, rebuild_command
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    BundleError,
    InputError,
    nearest,
)

AUTO = "auto"

BACKENDS = {
    "tensorrt": "engine.backends.tensorrt.backend:TensorRTBackend",
    "onnxruntime-cuda": "engine.backends.onnxruntime.cuda:OnnxRuntimeCudaBackend",
    "openvino": "engine.backends.openvino.backend:OpenVINOBackend",
    "onnxruntime": "engine.backends.onnxruntime.backend:OnnxRuntimeBackend",
    "onnxruntime-tensorrt": "engine.backends.onnxruntime.cuda:OnnxRuntimeTensorRTBackend",
    "onnxruntime-tensorrt-rtx": "engine.backends.onnxruntime.cuda:OnnxRuntimeTensorRTRTXBackend",
}
# Fastest first: `auto` takes the first that opens here. ONNX Runtime's TensorRT providers are left
# out: they build their engine whenever they are opened, which `tensorrt` has ready in the bundle.
AUTO_ORDER = ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime")

_log = logging.getLogger("engine")


class Backend(Protocol):
    """A runtime with a bundle's model in it. Inputs are checked and padded before they get here.

    ``device`` is ``"cpu"`` or e.g. ``"cuda:0"``. ``profile`` limits the padded sizes; None: any
    multiple of the bundle's divisor.
    """

    name: str
    device: str
    runtime_version: str
    profile: SizeProfile | None

    def prepare(self, image: NDArray[np.uint8]) -> Any:
        """Do what concerns one image alone, once for all pairs that the image is in.

        Args:
            image: (N, H, W, 3) uint8 RGB, C-contiguous, H and W multiples of the divisor; where
                there is nothing to do beforehand, it is also the result.

        May be called from several threads at once, as may ``run``.
        """
        ...

    def run(self, first: Any, second: Any) -> NDArray[np.float32]:
        """Return the flow (N, H, W, 2) in pixels, x then y, in memory that the caller owns.

        Args:
            first: the first image, prepared.
            second: the second image, prepared.
        """
        ...

    def device_ms(self) -> float | None:
        """Run the last inputs once more, resident on the device: milliseconds; None on a CPU."""
        ...

    def close(self) -> None:
        """Free the model; nothing is called afterwards."""
        ...


def open_backend(
    name: str,
    bundle: Path,
    manifest: Manifest,
    *,
    device: int,
    threads: int | None,
    streams: int = 1,
) -> Backend:
    """Open a bundle with the backend ``name``, or with the first that works for ``"auto"``.

    The arguments are those of ``engine.load``, checked.

    Raises:
        InputError: There is no backend of this name.
        BackendError: It (or, for ``"auto"``, every one) cannot run this bundle here.
    """
    if name == AUTO:
        return _open_first(bundle, manifest, device=device, threads=threads, streams=streams)
    if not isinstance(name, str) or name not in BACKENDS:
        known = [AUTO, *BACKENDS]
        guess = nearest(name, known) if isinstance(name, str) else ""
        raise InputError(f"unknown backend {name!r}; expected one of {', '.join(known)}.{guess}")
    module, class_name = BACKENDS[name].split(":")
    backend_class = getattr(importlib.import_module(module), class_name)
    backend: Backend = backend_class(
        bundle, manifest, device=device, threads=threads, streams=streams
    )
    return backend


def _open_first(bundle: Path, manifest: Manifest, **settings: Any) -> Backend:
    reasons = []
    for name in AUTO_ORDER:
        try:
            backend = open_backend(name, bundle, manifest, **settings)
        except BackendError as error:
            _log.info("backend %s does not open: %s", name, error)
            reasons.append(f"{name}: {one_line(error)}")
        else:
            _log.info("backend %s opens on %s", name, backend.device)
            return backend
    raise BackendError(f"no backend can run {bundle} here. {'; '.join(reasons)}.")


def import_runtime(module: str, backend: str, *, install: str) -> ModuleType:
    """Import a runtime's Python package.

    Args:
        module: its import name.
        backend: the backend that needs it, for the message.
        install: the shell command that installs it, for the message.

    Raises:
        BackendNotInstalledError: There is no such package.
        BackendError: It is there, but does not load.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise BackendNotInstalledError(
                f"backend {backend} needs the package {module}, which is not installed. "
                f"Install it: {install}"
            ) from error
        raise _broken(module, install, error) from error
    except (ImportError, OSError) as error:
        raise _broken(module, install, error) from error


def _broken(module: str, install: str, error: Exception) -> BackendError:
    return BackendError(
        f"the package {module} is installed but does not load: {one_line(error)}. "
        f"Reinstall it: {install}"
    )


def model_file(bundle: Path, manifest: Manifest, name: str, backend: str) -> Path:
    """Return the path of a bundle's file, or raise ``BackendError`` if the bundle has none."""
    if name not in manifest.files:
        target = backend.partition("-")[0]
        raise BackendError(
            f"backend {backend} needs {name}; the bundle {bundle} holds "
            f"{', '.join(manifest.files)}. Build one that has it: `"
            f"{rebuild_command(bundle, manifest, target=target, whole=True)}`."
        )
    return bundle / name


def read_model(path: Path, file: BundleFile | None) -> bytes:
    """Read a file that was checked before, so that what is opened later is this one.

    Args:
        path: of the file.
        file: what the manifest says of it; None: there is none.

    Raises:
        BundleError: It is not what the manifest speaks of any more.
    """
    content = path.read_bytes()
    if file is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise BundleError(f"{path} was changed while it was being opened; load the bundle again")
    return content


def one_line(error: BaseException) -> str:
    """Return an error's text on one line and without a final full stop."""
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__


def available_threads() -> int:
    """Return how many CPUs this process may use: its affinity, limited by its cgroup's quota.

    The runtimes count the machine's CPUs instead, which starves them in a container.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    # Rounded down: one thread too many is stopped for the rest of every scheduling period.
    return max(1, int(min(len(os.sched_getaffinity(0)), quota)))


def _cgroup_quota(root: Path, membership: Path) -> float:
    """Return the CPUs that a process's cgroup and those above it grant, infinite for no limit.

    Version 2 has one tree, version 1 one for each kind of resource; a machine may have both.
    https://docs.kernel.org/admin-guide/cgroup-v2.html, .../scheduler/sched-bwc.html
    """
    quota = float("inf")
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tree, limit = root, _cpu_max
        elif "cpu" in controllers.split(","):
            tree, limit = root / "cpu", _cfs_quota
        else:
            continue
        group = tree / path.lstrip("/")
        # In a container the path may be the host's; the tree's root is then the group itself.
        for folder in (group, *group.parents):
            if folder.is_relative_to(tree):
                quota = min(quota, limit(folder))
    return quota


def _cpu_max(group: Path) -> float:
    limits = group / "cpu.max"
    if not limits.is_file():
        return float("inf")
    granted, period = limits.read_text().split()
    return float("inf") if granted == "max" else int(granted) / int(period)


def _cfs_quota(group: Path) -> float:
    limits = [group / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    if not all(limit.is_file() for limit in limits):
        return float("inf")
    granted, period = (int(limit.read_text()) for limit in limits)
    return granted / period if granted > 0 else float("inf")
