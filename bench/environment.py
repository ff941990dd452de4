"""What a measurement has to say about the machine it was made on."""

import contextlib
import datetime
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.backends import available_threads

ROOT = Path(__file__).resolve().parents[1]

# Each distribution whose version can change a number in the table.
PACKAGES = (
    "flownet-engine", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
    "tensorrt-rtx", "opencv-python-headless", "opencv-python", "pycuda",
)  # fmt: skip


def gpus() -> list[str]:
    """Name and driver of each NVIDIA GPU, from nvidia-smi; empty if there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def describe(*, threads: int) -> dict[str, Any]:
    """Everything above as JSON, with the number of threads that every CPU row was given."""
    cards = gpus()
    return {
        "cpu": _cpu_model(),
        "cores": available_threads(),
        "threads": threads,
        "memory_gb": _memory_gb(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": "; ".join(cards) if cards else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": _versions(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def child_environment(**extra: str) -> dict[str, str]:
    """Environment of a child process that imports the same packages, from any folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **extra}


def run_module(module: str, *arguments: str) -> str:
    """Run ``python -m module`` and return what it printed.

    Raises:
        RuntimeError: it failed; the message ends in what it said of that.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=child_environment()
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        # Of a traceback only the last line; what a command says itself, whole.
        said = (
            lines[-1] if any(line.startswith("Traceback") for line in lines) else "\n".join(lines)
        )
        raise RuntimeError(f"`python -m {module}` failed with exit code {done.returncode}: {said}")
    return done.stdout


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _commit() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
