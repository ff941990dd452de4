"""What this machine is: its CPU and its GPUs."""

import functools
import platform
import subprocess
import sys
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


def cpu_flags() -> frozenset[str]:
    """Return what the first CPU's instruction set has, as Linux names it; empty: not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    # "flags" on x86, "Features" on ARM.
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())


def lacks_vnni() -> bool:
    """Whether this is an x86 CPU whose int8 products are summed in 16 bits, which may overflow.

    Where it cannot be told (no Linux, no x86), no.
    """
    flags = cpu_flags()
    # "fpu" is x86's alone.
    return "fpu" in flags and flags.isdisjoint({"avx512_vnni", "avx_vnni"})


def has_faulty_amx() -> bool:
    """Whether this CPU lists AMX, but its instructions do not run, as in some virtual machines.

    Libraries that believe the list die of SIGILL; so does the child process that tries here.
    """
    try:
        listed = "amx_tile" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return listed and not runs_amx()


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
