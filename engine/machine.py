"""What this machine is: its CPU and its GPUs."""

import platform
import subprocess
from pathlib import Path

from engine.errors import BackendError


def cpu_model() -> str:
    """Return the CPU's name where Linux gives one, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    # "Model" is what single-board computers have instead.
    names = [
        line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))
    ]
    return names[0] if names else platform.processor() or platform.machine()


def gpus() -> list[str]:
    """Return name, driver and compute capability of each NVIDIA GPU, as nvidia-smi says them.

    Raises:
        BackendError: nvidia-smi is missing or fails.
    """
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except FileNotFoundError as error:
        raise BackendError("there is no nvidia-smi") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(str(error)) from error
    return [line.strip() for line in done.stdout.splitlines()]
