"""What a measurement has to say about the machine it was made on."""

import contextlib
import datetime
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.errors import BackendError
from engine.system.cpu import cpu_model, gpus
from engine.system.threads import available_threads

ROOT = Path(__file__).resolve().parents[1]

# The exit code of our commands for a request that cannot be met.
USAGE_ERROR = 2

# Each distribution whose version can change a number in the table.
PACKAGES = (
    "flownet-engine", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
    "tensorrt-rtx", "opencv-python-headless", "opencv-python", "pycuda",
)  # fmt: skip


def found_gpus() -> list[str]:
    """Name, driver and compute capability of each NVIDIA GPU; empty if there is none."""
    with contextlib.suppress(BackendError):
        return gpus()
    return []


def describe(*, threads: int) -> dict[str, Any]:
    """Everything above as JSON, with the number of threads that every CPU row was given."""
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
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def child_environment(**extra: str) -> dict[str, str]:
    """Environment of a child process that imports the same packages, from any folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **extra}


class RefusedError(RuntimeError):
    """A command of ours says that what was asked of it cannot be had; nothing went wrong."""


def run_module(module: str, *arguments: str, **environment: str) -> str:
    """Run ``python -m module``, with these variables too, and return what it printed.

    Raises:
        RefusedError: it cannot do that (exit code 2); the message is its own.
        RuntimeError: it failed; the message ends in what it said of that.
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
        lines = done.stderr.strip().splitlines() or ["no message"]
        # Of a traceback only the last line; what a command says itself, whole.
        said = (
            lines[-1] if any(line.startswith("Traceback") for line in lines) else "\n".join(lines)
        )
        if done.returncode == USAGE_ERROR:
            raise RefusedError(said.removeprefix("error: "))
        raise RuntimeError(f"`python -m {module}` failed with exit code {done.returncode}: {said}")
    return done.stdout


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Version of each of these distributions that is installed."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def fingerprint(*inputs: str, sources: Iterable[str]) -> str:
    """Short hash of what a kept result depends on: what was asked for, and the code behind it.

    Args:
        inputs: what was asked for.
        sources: patterns of the files that make the result, from the project's root.
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


def _commit() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
