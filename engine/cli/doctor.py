"""``flow doctor``: report what runs on this machine, and what does not and why.

Imports the standard library only and guards each probe: a failure becomes a value of the report, so
that it also runs where a package is broken.
"""

import argparse
import importlib.metadata
import json
import platform
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from engine.cli import common

_EPILOG = """examples:
  flow doctor
  flow doctor --json > report.json
  flow doctor --bundle build/mine

exit status: 0 if at least one backend can open the bundle, else 1"""

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
)
# Shared libraries of the runtimes and of what they run on.
_LIBRARY = re.compile(
    r"/\S*(?:onnxruntime|openvino|nvinfer|tensorrt|cudart|cudnn|libcuda\.|libtbb|libgomp|libiomp)"
    r"[^/\s]*\.so\S*$"
)

Report = dict[str, Any]


def add_command(commands: common.Commands) -> None:
    """Add ``doctor`` to the parser's commands."""
    parser = common.add_command(
        commands, "doctor", run, help="report what runs here, and what does not and why",
        epilog=_EPILOG,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0 if at least one backend opens the bundle."""
    from engine.call_checks import check_device, check_threads

    check_device(options.device)
    check_threads(options.threads)
    report = collect(options.bundle, device=options.device, threads=options.threads)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(_lines(report)))
    return 0 if report["auto"] else 1


def collect(bundle: Path | None, *, device: int, threads: int | None) -> Report:
    """Return the report; the value of a probe that failed is ``{"error": text}``.

    Keys: ``engine``, ``python``, ``platform``, ``packages`` (installed distributions), ``cpu``,
    ``gpus``, ``cache``, ``bundle``, ``backends``, ``auto`` (the backend that ``auto`` opens, or
    None) and ``libraries`` (shared libraries that are loaded after opening the backends).
    """
    report: Report = {
        "engine": _probe(_engine),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _probe(_packages),
        "cpu": _probe(_cpu),
        "gpus": _probe(_gpus),
        "cache": _probe(_cache),
        "bundle": _probe(lambda: _bundle(bundle)),
    }
    report["backends"] = {}
    if "error" not in report["bundle"]:
        report["backends"] = _probe(lambda: _backends(bundle, device=device, threads=threads))
    opened = [name for name, backend in report["backends"].items() if "device" in backend]
    report["auto"] = opened[0] if opened else None
    report["libraries"] = _probe(_libraries)
    return report


def _probe(probe: Callable[[], Any]) -> Any:
    try:
        return probe()
    except Exception as error:  # anything: a broken package raises what it likes
        return {"error": common.printable(" ".join(str(error).split()) or type(error).__name__)}


def _engine() -> Report:
    import engine

    return {"version": engine.__version__, "path": common.printable(Path(engine.__file__).parent)}


def _packages() -> Report:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> Report:
    from engine.system.cpu import cpu_model, int8_fault
    from engine.system.threads import available_threads

    return {"model": cpu_model(), "threads": available_threads(), "int8_fault": int8_fault()}


def _gpus() -> list[str]:
    from engine.system.cpu import gpus

    return gpus()


def _cache() -> str | None:
    from engine.system.cache import cache_folder

    folder = cache_folder()
    return None if folder is None else common.printable(folder)


def _bundle(bundle: Path | None) -> Report:
    from engine.bundle.manifest import read_manifest
    from engine.bundle.verify import verify_files
    from engine.loader import DEFAULT_BUNDLE

    folder = bundle or DEFAULT_BUNDLE
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    return {
        "path": common.printable(folder),
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
    from engine.loader import DEFAULT_BUNDLE

    folder = bundle or DEFAULT_BUNDLE
    manifest = read_manifest(folder)

    def opened(name: str) -> Report:
        backend = open_backend(name, folder, manifest, device=device, threads=threads)
        facts = {"version": backend.runtime_version, "device": backend.device}
        backend.close()
        return facts

    return {name: _probe(partial(opened, name)) for name in AUTO_ORDER}


def _libraries() -> list[str]:
    """Return the paths of loaded shared libraries: what runs, not what is installed."""
    maps = Path("/proc/self/maps").read_text(errors="backslashreplace")
    found = (_LIBRARY.search(line) for line in maps.splitlines())
    return sorted({match.group() for match in found if match})


def _lines(report: Report) -> list[str]:
    """Return the report as text."""
    cpu, bundle = report["cpu"], report["bundle"]
    subjects = {
        "engine": _text(report["engine"], lambda it: it["version"]),
        "python": f"{report['python']}, {report['platform']}",
        "packages": _text(report["packages"], lambda it: ", ".join(map(" ".join, it.items()))),
        "cpu": _text(cpu, lambda it: f"{it['model']}, {it['threads']} threads for this process"),
        "gpu": _text(report["gpus"], lambda it: "; ".join(it) or "none found"),
        "cache": _text(
            report["cache"] or "none (FLOWNET_ENGINE_CACHE is empty, or there is no home)"
        ),
        "bundle": _text(bundle, _bundle_text),
    }
    lines = [f"{subject:<9} {fact}" for subject, fact in subjects.items()]
    if "error" in bundle:
        return [*lines, "backends  not tried: they need a bundle; pass one with --bundle DIR"]
    lines += [_backend_line(name, backend) for name, backend in report["backends"].items()]
    return [*lines, f"auto      {report['auto'] or 'nothing runs here'}"]


def _bundle_text(bundle: Report) -> str:
    files = ", ".join(
        f"{name} {file['precision'] or file['role']} {file['bytes'] / 1e6:.1f} MB"
        for name, file in bundle["files"].items()
    )
    return f"{bundle['network']} {bundle['precision']} ({files}), {bundle['path']}"


def _backend_line(name: str, backend: Report) -> str:
    if "error" in backend:
        return f"  {name:<17} no   {backend['error']}"
    return f"  {name:<17} yes  {backend['version']} on {backend['device']}"


def _text(value: Any, show: Callable[[Any], str] = str) -> str:
    return value["error"] if isinstance(value, dict) and "error" in value else show(value)
