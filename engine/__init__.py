"""Optical flow from two images, without a deep-learning framework.

import engine

flow = engine.infer(image1, image2)  # (H, W, 3) uint8 twice -> (H, W, 2) float32 pixels

with engine.load("build/flownets-fp16", backend="tensorrt") as flow_engine:
    for flow in flow_engine.stream(frames):
        ...
"""

import ctypes
import os
import threading

from numpy.typing import ArrayLike

from engine.bundle.manifest import Manifest
from engine.cuda.flow_array import DeviceArray
from engine.engine import FlowEngine
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    BundleError,
    EngineError,
    FlowFileError,
    HardwareMissingError,
    InputError,
    PlanMismatchError,
)
from engine.loader import load
from engine.types import Color, Flow

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BackendNotInstalledError",
    "BundleError",
    "DeviceArray",
    "EngineError",
    "FlowEngine",
    "FlowFileError",
    "HardwareMissingError",
    "InputError",
    "Manifest",
    "PlanMismatchError",
    "__version__",
    "infer",
    "load",
]

_default: FlowEngine | None = None
_default_lock = threading.Lock()


def _forget_default() -> None:
    """Drop the default engine in a forked child, which has none of its parent's threads.

    The engine is leaked on purpose: freeing it would wait for these threads.
    """
    global _default, _default_lock
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_default))
    _default, _default_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_default)


def infer(image1: ArrayLike, image2: ArrayLike, *, color: Color = "rgb") -> Flow:
    """Return the optical flow between two images, with the default bundle on the fastest backend.

    The first call opens the engine, later calls reuse it. Thread-safe; a forked process opens its
    own engine. Arguments, result and errors are those of ``FlowEngine.infer``, and at the first
    call the errors of ``load``.
    """
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = load()
    return _default.infer(image1, image2, color=color)
