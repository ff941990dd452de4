"""What this machine is: its CPU and its GPUs."""

import functools
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Literal

from engine.errors import BackendError

# Limits the instructions of oneDNN, the library behind OpenVINO's CPU device. oneDNN reads it once
# in a process. https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
ONEDNN_LIMIT = "ONEDNN_MAX_CPU_ISA"

# The flags that decide how oneDNN computes int8, as Linux names them, that each limit leaves; other
# values of the variable leave all.
_FLAGS = frozenset({"avx2", "avx512bw", "avx_vnni", "avx512_vnni", "amx_tile"})
_LEFT_BY_LIMIT = {
    **dict.fromkeys(("SSE41", "AVX"), frozenset[str]()),
    "AVX2": frozenset({"avx2"}),
    "AVX512_CORE": frozenset({"avx2", "avx512bw"}),
    **dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2"), frozenset({"avx2", "avx_vnni"})),
    **dict.fromkeys(
        ("AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"),
        _FLAGS - {"amx_tile", "avx_vnni"},
    ),
}

# What oneDNN computes int8 with. AMX and VNNI sum products in 32 bits; the others sum two of them
# in 16 bits, which saturates if they are large.
# https://uxlfoundation.github.io/oneDNN/dev_guide_int8_computations.html
Int8Instructions = Literal["AMX", "VNNI", "AVX-512", "AVX2"]
# The largest weight of which two products with uint8 fit in 16 bits: 2 x 255 x 64 < 2**15.
SAFE_INT8_WEIGHT = 64


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


def is_arm() -> bool:
    """Return whether the CPU is a 64-bit Arm, as Linux and macOS name it."""
    return platform.machine().lower() in ("aarch64", "arm64")


def cpu_flags() -> frozenset[str]:
    """Return what the first CPU's instruction set has, as Linux names it; empty: not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    # "flags" on x86, "Features" on ARM.
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())


def int8_instructions() -> Int8Instructions | None:
    """Return what oneDNN computes int8 with; None: the CPU is not an x86-64 with AVX2."""
    usable = cpu_flags() & _LEFT_BY_LIMIT.get(_limit(), _FLAGS)
    if "amx_tile" in usable:
        return "AMX"
    if usable & {"avx_vnni", "avx512_vnni"}:
        return "VNNI"
    if "avx2" not in usable:
        return None
    return "AVX-512" if "avx512bw" in usable else "AVX2"


def vnni_fault() -> str | None:
    """Return why int8 weights beyond `SAFE_INT8_WEIGHT` are not computed correctly, or None."""
    if int8_instructions() in ("AMX", "VNNI"):
        return None
    listed = cpu_flags() & {"avx_vnni", "avx512_vnni"}
    limited = f" under {ONEDNN_LIMIT}={_limit()}" if listed else ""
    return f"{cpu_model()} has no VNNI{limited}, so int8 sums would saturate"


def amx_fault() -> str | None:
    """Return why oneDNN would fail at int8, or None.

    Some virtual machines list AMX but fault on its instructions: a process that executes them dies
    of SIGILL.
    """
    if int8_instructions() != "AMX" or runs_amx():
        return None
    return (
        f"{cpu_model()} lists AMX but does not execute it; "
        f"set {ONEDNN_LIMIT}=AVX512_CORE_FP16 before the process starts"
    )


def _limit() -> str:
    return os.environ.get(ONEDNN_LIMIT, "").upper()


@functools.cache  # else each bundle that is opened would start a process
def runs_amx() -> bool:
    """Whether a child process survives AMX instructions (x86-64 Linux); if none can try, no."""
    # An embedded interpreter may have no executable; a frozen program's is that program.
    if not sys.executable or getattr(sys, "frozen", False):
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRY_AMX],
            capture_output=True,
            check=False,
            timeout=10,  # where it is another program, which has Python inside and goes on
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


# Asks the kernel for the tile registers (https://docs.kernel.org/arch/x86/xstate.html), then runs
# LDTILECFG of one tile, TILEZERO, TILERELEASE and RET (Intel's manual, volume 2).
_TRY_AMX = """
import ctypes, mmap
ctypes.CDLL(None).syscall(158, 0x1023, 18)
config = (ctypes.c_ubyte * 64)()
config[0], config[16], config[48] = 1, 4, 1
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("c4e2784907c4e27b49c0c4e27849c0c3"))
code = ctypes.addressof(ctypes.c_ubyte.from_buffer(page))
ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code)(ctypes.addressof(config))
"""


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
