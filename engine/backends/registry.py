"""The backends by name, and how ``auto`` chooses one."""

import importlib
import logging
from pathlib import Path
from typing import Any

from engine.backends.base import Backend
from engine.bundle.manifest import Manifest
from engine.errors import BackendError, InputError, nearest, one_line

AUTO = "auto"

# Imported on use.
BACKENDS = {
    "tensorrt": "engine.backends.tensorrt.backend:TensorRTBackend",
    "onnxruntime-cuda": "engine.backends.onnxruntime.cuda_backend:OnnxRuntimeCudaBackend",
    "openvino": "engine.backends.openvino.backend:OpenVINOBackend",
    "onnxruntime": "engine.backends.onnxruntime.backend:OnnxRuntimeBackend",
}
# Fastest first.
AUTO_ORDER = ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime")

_log = logging.getLogger("engine")


def open_backend(
    name: str,
    bundle: Path,
    manifest: Manifest,
    *,
    device: int,
    threads: int | None,
    streams: int = 1,
    iterations: int | None = None,
) -> Backend:
    """Open a bundle with the backend ``name``, or with the first that works for ``"auto"``.

    The arguments are those of ``engine.load``, already checked.

    Raises:
        InputError: no backend has this name.
        BackendError: the backend (for ``"auto"``, every backend) cannot run this bundle here.
    """
    if name == AUTO:
        return _open_first(
            bundle, manifest, device=device, threads=threads, streams=streams, iterations=iterations
        )
    if not isinstance(name, str) or name not in BACKENDS:
        known = [AUTO, *BACKENDS]
        guess = nearest(name, known) if isinstance(name, str) else ""
        raise InputError(f"unknown backend {name!r}; expected one of {', '.join(known)}.{guess}")
    module, class_name = BACKENDS[name].split(":")
    backend_class = getattr(importlib.import_module(module), class_name)
    backend: Backend = backend_class(
        bundle, manifest, device=device, threads=threads, streams=streams, iterations=iterations
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
            _log.info("backend %s opens on %s, in %s", name, backend.device, backend.arithmetic)
            return backend
    raise BackendError(f"no backend can run {bundle} here. {'; '.join(reasons)}.")
