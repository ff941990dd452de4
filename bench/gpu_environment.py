"""What a machine's NVIDIA GPUs are, and which of our runtimes can use them.

``python -m bench.gpu_environment RUNTIME`` tries one of them, in a process of its own: a library
that crashes takes nothing else with it. It prints what it found as JSON, in its last line.
"""

import ctypes
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import engine
from bench.environment import ROOT, child_environment, describe
from engine.backends.registry import available_threads, one_line
from engine.backends.tensorrt.package import load_tensorrt, message_log
from engine.bundle.manifest import read_manifest
from engine.cuda.device import Device
from engine.errors import BackendNotInstalledError, EngineError
from engine.system.cpu import gpus

Json = dict[str, Any]

# TensorRT comes in two packages, of which a machine needs one.
TENSORRT = ("tensorrt", "tensorrt_rtx")
NEEDED = ("torch", "onnxruntime", "pycuda")
# `tensorrt` hidden, so that the plan is one of TensorRT for RTX where both are installed.
BUILD = """
import runpy, sys
sys.modules["tensorrt"] = None
runpy.run_module("export.build_engine", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi says it: for instance ``NVIDIA H200``, ``580.159.04``, ``9.0``."""

    name: str
    driver: str
    compute_capability: str

    @property
    def file_name(self) -> str:
        """The name of its results: ``nvidia-h200``."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def architecture(self) -> str:
        """As CMake calls it: ``90``."""
        return self.compute_capability.replace(".", "")


def cards() -> list[Card]:
    """Every NVIDIA GPU of this machine, one at least.

    Raises:
        BackendError: nvidia-smi is missing or fails.
        RuntimeError: it lists no GPU.
    """
    found = [Card(*line.rsplit(", ", 2)) for line in gpus()]
    if not found:
        raise RuntimeError("nvidia-smi lists no GPU")
    return found


def report() -> Json:
    """Everything above as JSON: the machine, its GPUs and CUDA, each runtime, the doctor's report.

    Raises:
        BackendError: there is no GPU.
    """
    doctor = subprocess.run(
        [sys.executable, "-m", "engine", "doctor"],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
    )
    return {
        "schema": 1,
        "environment": describe(threads=available_threads()),
        "gpus": [asdict(card) for card in cards()],
        "cuda": {"driver": _driver_cuda(), "toolkit": _toolkit_cuda()},
        "runtimes": {name: tried(name) for name in RUNTIMES},
        "doctor": (doctor.stdout + doctor.stderr).splitlines(),
    }


def tried(name: str) -> Json:
    """Try a runtime in a process of its own.

    Returns:
        ``version`` (None where it does not import), ``sees_gpu``, and ``said``: the GPU as the
        runtime names it, or what it said instead.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu_environment", name],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode == 0:
        found: Json = json.loads(lines[-1])
        return found
    said = f"the process ended with exit code {done.returncode}: {(lines or ['no message'])[-1]}"
    return {"version": None, "sees_gpu": False, "said": said}


def lacks(runtimes: Json) -> list[str]:
    """A sentence for each runtime that is needed here and cannot use the GPU."""
    blind = {name: found["said"] for name, found in runtimes.items() if not found["sees_gpu"]}
    wanted = [name for name in NEEDED if name in blind]
    if all(name in blind for name in TENSORRT):
        wanted += TENSORRT
    return [f"{name}: {blind[name]}" for name in wanted]


def portable_plan(folder: Path) -> Json:
    """Build a plan with TensorRT for RTX and try to run it on this machine's GPU.

    Args:
        folder: the bundle to write, with its plan.

    Returns:
        ``status``: "ok", "not run" (TensorRT does not open it on this GPU) or "failed" (no plan, or
        one with another flow); ``said``: why, None for "ok"; ``mean_px``: its flow's distance to
        that of fp32 PyTorch, in pixels, None where there is none; ``output``: every line of the
        build, TensorRT's warnings among them.
    """
    network = "--network flownets_pyramid_slim --precision fp16 --size 384x512"
    arguments = f"{network} --targets tensorrt -o"
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *arguments.split(), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=ROOT,
        env=child_environment(),
    )
    output = done.stdout.splitlines()
    if done.returncode:
        said = " ".join(line.strip() for line in output[-3:])
        return {"status": "failed", "said": said, "mean_px": None, "output": output}
    parity = next(each for each in read_manifest(folder).parity if each.backend == "tensorrt")
    return {
        "status": parity.status,
        "said": parity.reason,
        "mean_px": parity.mean_px,
        "output": output,
    }


def _driver_cuda() -> str | None:
    """The newest CUDA that the driver runs."""
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _toolkit_cuda() -> str | None:
    """The version of the CUDA compiler on the path."""
    if shutil.which("nvcc") is None:
        return None
    said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"release ([0-9.]+)", said.stdout)
    return found[1] if found else None


class _NoGpuError(Exception):
    """The runtime imports, and does not see the GPU; the message is its own."""

    def __init__(self, version: str, said: str) -> None:
        super().__init__(said)
        self.version = version


def _torch() -> tuple[str, str]:
    torch = importlib.import_module("torch")
    version = f"{torch.__version__}, CUDA {torch.version.cuda}"
    try:
        torch.ones(2, device="cuda").sum().item()  # is there code for this architecture?
    except (RuntimeError, AssertionError) as error:
        raise _NoGpuError(version, one_line(error)) from error
    return version, str(torch.cuda.get_device_name())


def _onnxruntime() -> tuple[str, str]:
    version = str(importlib.import_module("onnxruntime").__version__)
    try:
        with engine.load(backend="onnxruntime-cuda") as flow_engine:
            flow_engine.infer(*np.zeros((2, 64, 64, 3), np.uint8))
            return version, flow_engine.backend.device
    except EngineError as error:
        raise _NoGpuError(version, one_line(error)) from error


def _tensorrt(name: str) -> tuple[str, str]:
    runtime = load_tensorrt([name])
    version, messages = str(runtime.module.__version__), message_log(runtime.module)
    try:
        gpu = Device(0)
        with gpu.current():
            runtime.module.Runtime(messages)
    except TypeError as error:  # the factory's null pointer, as pybind11 reports it
        raise _NoGpuError(version, messages.take()) from error
    except EngineError as error:
        raise _NoGpuError(version, one_line(error)) from error
    return version, str(gpu)


def _pycuda() -> tuple[str, str]:
    try:
        gpu = Device(0)
    except BackendNotInstalledError:
        raise
    except EngineError as error:
        raise _NoGpuError(metadata.version("pycuda"), one_line(error)) from error
    return metadata.version("pycuda"), str(gpu)


RUNTIMES: dict[str, Callable[[], tuple[str, str]]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "tensorrt": lambda: _tensorrt("tensorrt"),
    "tensorrt_rtx": lambda: _tensorrt("tensorrt_rtx"),
    "pycuda": _pycuda,
}


def main(name: str) -> None:
    """Try one runtime and print what came of it."""
    found: Json
    try:
        version, said = RUNTIMES[name]()
        found = {"version": version, "sees_gpu": True, "said": said}
    except _NoGpuError as error:
        found = {"version": error.version, "sees_gpu": False, "said": str(error)}
    except (ImportError, OSError, BackendNotInstalledError) as error:
        found = {"version": None, "sees_gpu": False, "said": one_line(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
