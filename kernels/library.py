"""Loads the C libraries that CMake builds and calls them on raw pointers (ctypes, no headers)."""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VARIANTS = {
    "auto": 0,
    "cpu-baseline": 1,
    "cpu-avx2": 2,
    "cpu-avx512": 3,
    "cuda-plain": 11,
    "cuda-tensor-cores": 12,
    "cuda-classic": 13,
}
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}

_BAD_VARIANT = 4


class KernelError(RuntimeError):
    """A kernel refused its arguments or could not be launched."""


class VariantError(KernelError):
    """This machine, or these arguments, do not allow the variant that was asked for."""


class Arguments(ctypes.Structure):
    """``FlowCorrelation`` of correlation.h."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in ("dtype", "variant", "threads", "batch", "channels", "height", "width",
                     "max_displacement", "stride_2")
    ]  # fmt: skip


class _Launch(ctypes.Structure):
    """``FlowLaunch`` of correlation.h."""

    _fields_ = [
        ("kernel", ctypes.c_char_p),
        *[
            (name, ctypes.c_int32)
            for name in ("grid_x", "grid_y", "grid_z", "block_x", "shared_bytes", "scalar_count")
        ],
        ("scalars", ctypes.c_int32 * 6),
    ]


@dataclass(frozen=True)
class Launch:
    """How a kernel of the CUDA library is started by name.

    Its arguments are the two inputs' addresses, ``scalars`` as int32, the output's address.
    """

    kernel: str
    grid: tuple[int, int, int]
    threads: int  # of a block, along x
    shared_bytes: int  # dynamic shared memory of a block
    scalars: tuple[int, ...]


def directory() -> Path:
    """Where the built libraries are: $FLOW_KERNELS, or build/ beside the packages."""
    return Path(os.environ.get("FLOW_KERNELS") or Path(__file__).resolve().parent.parent / "build")


@cache
def load(device: str) -> ctypes.CDLL | None:
    """The library for ``device``, "cpu" or "cuda"; None where none was built.

    Raises:
        KernelError: there is one, but damaged, or of something else.
    """
    path = directory() / f"libflow_correlation_{device}.so"
    if not path.exists():
        return None
    try:
        library = ctypes.CDLL(str(path))
        getattr(library, f"flow_correlation_{device}_message").restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        raise KernelError(f"{path} does not load: {error}; build it anew: make kernels") from error
    return library


def arguments(
    shape: tuple[int, int, int, int],
    *,
    max_displacement: int,
    stride_2: int,
    dtype: str = "float32",
    variant: str = "auto",
    threads: int = 0,
) -> Arguments:
    """The C structure for feature maps of ``shape`` (N, C, H, W)."""
    return Arguments(DTYPES[dtype], VARIANTS[variant], threads, *shape, max_displacement, stride_2)


def forward(
    device: str, arguments: Arguments, f1: int, f2: int, out: int, *, stream: int | None = None
) -> None:
    """Run the forward pass on pointers (addresses as integers).

    Raises:
        KernelError: the library refused; the message is its own.
    """
    _call(device, "forward", arguments, (f1, f2, out), stream)


def backward(
    device: str,
    arguments: Arguments,
    pointers: tuple[int, int, int, int, int],
    *,
    stream: int | None = None,
) -> None:
    """Run the backward pass; ``pointers``: grad_out, f1, f2, grad_f1, grad_f2.

    Raises:
        KernelError: the library refused; the message is its own.
    """
    _call(device, "backward", arguments, pointers, stream)


def launch(arguments: Arguments, *, capability: int, multiprocessors: int) -> Launch:
    """What ``forward`` starts on a GPU of compute capability ``capability``.x; needs no GPU.

    ``multiprocessors``, how many the GPU has, decides about speed alone: how many blocks the work
    is split into.

    Raises:
        KernelError: the library refused; the message is its own.
    """
    found = _Launch()
    library = _library("cuda")
    status = library.flow_correlation_cuda_launch(
        ctypes.byref(arguments), capability, multiprocessors, ctypes.byref(found)
    )
    _check("cuda", status)
    return Launch(
        found.kernel.decode(),
        (found.grid_x, found.grid_y, found.grid_z),
        found.block_x,
        found.shared_bytes,
        tuple(found.scalars[: found.scalar_count]),
    )


def cuda_device() -> tuple[int, int]:
    """Compute capability (its first number) and number of multiprocessors of the current GPU.

    Raises:
        KernelError: there is no GPU, or no library for one.
    """
    capability, multiprocessors = ctypes.c_int32(), ctypes.c_int32()
    library = _library("cuda")
    status = library.flow_correlation_cuda_device(
        ctypes.byref(capability), ctypes.byref(multiprocessors)
    )
    _check("cuda", status)
    return capability.value, multiprocessors.value


def _call(
    device: str, name: str, arguments: Arguments, pointers: tuple[int, ...], stream: int | None
) -> None:
    function = getattr(_library(device), f"flow_correlation_{device}_{name}")
    values = [ctypes.c_void_p(pointer) for pointer in pointers]
    if device == "cuda":
        values.append(ctypes.c_void_p(stream))
    _check(device, function(ctypes.byref(arguments), *values))


def _library(device: str) -> ctypes.CDLL:
    library = load(device)
    if library is None:
        raise KernelError(
            f"no correlation library for {device} in {directory()}; expected "
            f"libflow_correlation_{device}.so; run `make kernels`"
            + (" where nvcc is" if device == "cuda" else "")
        )
    return library


def _check(device: str, status: int) -> None:
    if status:
        message = getattr(_library(device), f"flow_correlation_{device}_message")(status)
        kind = VariantError if status == _BAD_VARIANT else KernelError
        raise kind(f"correlation on {device}: {message.decode()} (status {status})")
