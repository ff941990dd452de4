"""The machine that a measurement was made on, and modules run as processes of their own."""

import contextlib
import datetime
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.errors import BackendError
from engine.system.commit import project_commit
from engine.system.cpu import cpu_model, gpus
from engine.system.threads import available_threads

ROOT = Path(__file__).resolve().parents[1]

# Exit code of this project's commands for a request that cannot be met.
USAGE_ERROR = 2

# Distributions whose version can change a number in the table.
PACKAGES = (
    "flownet-engine", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
    "tensorrt-rtx", "opencv-python-headless", "opencv-python", "pycuda",
)  # fmt: skip


def found_gpus() -> list[str]:
    """Return name, driver and compute capability of each NVIDIA GPU."""
    with contextlib.suppress(BackendError):
        return gpus()
    return []


def describe(*, threads: int) -> dict[str, Any]:
    """Return the environment's JSON object; ``threads`` is the number of each CPU row."""
    cards = found_gpus()
    return {
        "cpu": cpu_model(),
        "cores": available_threads(),
        "threads": threads,
        "memory_gb": _memory_gb(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": "; ".join(cards) if cards else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "commit": project_commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def child_environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child process that imports the same packages in any folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **extra}


class ModuleError(Exception):
    """A module that was run as a process failed; the message ends in its last error line."""


class RefusedError(ModuleError):
    """The module cannot do what was requested (exit code 2); the message is its own."""


def run_module(module: str, *arguments: str, **environment: str) -> str:
    """Run ``python -m module`` with these environment variables too; return its output.

    Raises:
        RefusedError: the request cannot be met (exit code 2).
        ModuleError: it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(**environment),
    )
    if done.returncode:
        message = done.stderr.strip() or "no message"
        if "Traceback" in message:
            message = message.splitlines()[-1]
        if done.returncode == USAGE_ERROR:
            raise RefusedError(message.removeprefix("error: "))
        raise ModuleError(f"`python -m {module}`: exit code {done.returncode}: {message}")
    return done.stdout


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the version of each installed distribution of these."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def fingerprint(*inputs: str, sources: Iterable[str]) -> str:
    """Return a short hash of everything that a cached result depends on.

    Args:
        inputs: the request.
        sources: patterns of the source files that produce the result, from the project's root.
    """
    digest = hashlib.sha256("\n".join(inputs).encode())
    for pattern in sources:
        for source in sorted(ROOT.glob(pattern)):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _memory_gb() -> float | None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None
