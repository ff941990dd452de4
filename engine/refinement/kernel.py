"""Variational refinement by the compiled kernel, or in numpy where there is none."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, one_line
from engine.refinement import plain

# What setup.py compiles.
_LIBRARY = Path(__file__).with_name("_kernel.so")
_STATUS = {1: "out of memory", 2: "no thread could be started"}
_POINTERS = 4


def refined(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    flow: NDArray[np.float32],
    *,
    threads: int,
) -> NDArray[np.float32]:
    """Return a refined flow; see `engine.refinement.plain.refined`.

    Args:
        first: the first image, (H, W, 3) uint8 RGB.
        second: the second image, of the same shape.
        flow: (H, W, 2) float32 in pixels, x then y.
        threads: number of threads. The result does not depend on it.

    Raises:
        BackendError: Memory or threads are used up.
    """
    library, _ = _loaded()
    if library is None:
        return plain.refined(first, second, flow)
    arrays = [np.ascontiguousarray(array) for array in (first, second, flow)]
    result = np.empty(flow.shape, np.float32)
    pointers = (array.ctypes.data for array in (*arrays, result))
    if status := library.flow_refine(*pointers, *flow.shape[:2], threads):
        raise BackendError(f"the refinement of a flow failed: {_STATUS[status]}.")
    return result


def refined_batch(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    flows: NDArray[np.float32],
    *,
    threads: int,
) -> NDArray[np.float32]:
    """Return the refined flows (N, H, W, 2) of the pairs (N, H, W, 3), each as `refined` does."""
    pairs = zip(first, second, flows, strict=True)
    return np.stack([refined(*pair, threads=threads) for pair in pairs])


def fault() -> str:
    """Return why flows are refined in numpy, some 200 times slower; empty: they are not."""
    return _loaded()[1]


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    if not _LIBRARY.exists():
        return None, "its kernel was not compiled when it was installed (docs/install.md)"
    try:
        library = ctypes.CDLL(str(_LIBRARY))
        library.flow_refine.argtypes = [
            *[ctypes.c_void_p] * _POINTERS,
            *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int32),
        ]
    except (OSError, AttributeError) as error:
        return None, f"its kernel does not load: {one_line(error)}"
    return library, ""
