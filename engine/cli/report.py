"""Facts about this machine and its backends, for ``flow doctor``.

Imports the standard library only and guards each probe: a failure becomes a value of the report, so
that it also runs where a package is broken.
"""

import importlib.metadata
import platform
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.cli.common import printable

# Distributions that decide which backends work.
_PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "pycuda",
    "opencv-python-headless",
    "opencv-python",
    "av",
)
# Shared libraries of the runtimes and of what they run on.
_LIBRARY = re.compile(
    r"/\S*(?:onnxruntime|openvino|nvinfer|tensorrt|cudart|cudnn|libcuda\.|libtbb|libgomp|libiomp)"
    r"[^/\s]*\.so\S*$"
)

Report = dict[str, Any]


def collect(
    bundle: Path | None, *, device: int, threads: int | None, trust: Path | None = None
) -> Report:
    """Return the report; the value of a probe that failed is ``{"error": text}``.

    Keys: ``engine``, ``python``, ``platform``, ``packages`` (installed distributions), ``cpu``,
    ``gpus``, ``cache``, ``refinement`` (what refines flows), ``bundle``, ``backends``, ``auto``
    (the backend that ``auto`` opens, or None) and ``libraries`` (shared libraries that are loaded
    after opening the backends).
    """
    report: Report = {
        "engine": _probe(_engine),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _probe(_packages),
        "cpu": _probe(_cpu),
        "gpus": _probe(_gpus),
        "cache": _probe(_cache),
        "refinement": _probe(_refinement),
        "bundle": _probe(lambda: _bundle(bundle, trust)),
    }
    report["backends"] = {}
    if "error" not in report["bundle"]:
        found = _probe(lambda: _backends(bundle, device=device, threads=threads))
        report["backends"] = {"registry": found} if "error" in found else found
    opened = [name for name, backend in report["backends"].items() if "device" in backend]
    report["auto"] = opened[0] if opened else None
    report["libraries"] = _probe(_libraries)
    return report


def _probe(probe: Callable[[], Any]) -> Any:
    try:
        return probe()
    except Exception as error:  # anything: a broken package raises what it likes
        return {"error": printable(" ".join(str(error).split()) or type(error).__name__)}


def _engine() -> Report:
    import engine

    return {"version": engine.__version__, "path": printable(Path(engine.__file__).parent)}


def _packages() -> Report:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> Report:
    from engine.system.cpu import amx_fault, cpu_model, int8_instructions
    from engine.system.threads import available_threads

    return {
        "model": cpu_model(),
        "threads": available_threads(),
        "int8_instructions": int8_instructions(),
        "amx_fault": amx_fault(),
    }


def _gpus() -> list[str]:
    from engine.system.cpu import gpus

    return gpus()


def _refinement() -> str:
    from engine.refinement import fault

    return f"numpy, slower than the network: {fault()}" if fault() else "compiled kernel"


def _cache() -> str | None:
    from engine.system.cache import cache_folder

    folder = cache_folder()
    return None if folder is None else printable(folder)


def _bundle(bundle: Path | None, trust: Path | None) -> Report:
    from engine.bundle.shipped import DEFAULT_BUNDLE
    from engine.bundle.signature import read_trusted
    from engine.bundle.verify import verify_files

    folder = bundle or DEFAULT_BUNDLE
    manifest = read_trusted(folder, trust)
    verify_files(folder, manifest)
    return {
        "path": printable(folder),
        "network": manifest.network,
        "precision": manifest.precision,
        "files": {
            name: {"role": file.role, "precision": file.precision, "bytes": file.bytes}
            for name, file in manifest.files.items()
        },
    }


def _backends(bundle: Path | None, *, device: int, threads: int | None) -> dict[str, Report]:
    """Try to open each backend that ``auto`` considers, in its order."""
    from engine.backends.registry import AUTO_ORDER, open_backend
    from engine.bundle.manifest import read_manifest
    from engine.bundle.shipped import DEFAULT_BUNDLE

    folder = bundle or DEFAULT_BUNDLE
    manifest = read_manifest(folder)

    def opened(name: str) -> Report:
        backend = open_backend(name, folder, manifest, device=device, threads=threads)
        facts = {
            "version": backend.runtime_version,
            "device": backend.device,
            "arithmetic": backend.arithmetic,
        }
        backend.close()
        return facts

    return {name: _probe(partial(opened, name)) for name in AUTO_ORDER}


def _libraries() -> list[str]:
    """Return the paths of loaded shared libraries: what runs, not what is installed."""
    maps = Path("/proc/self/maps").read_text(errors="backslashreplace")
    found = (_LIBRARY.search(line) for line in maps.splitlines())
    return sorted({match.group() for match in found if match})
