"""Optical flow from two images, without a deep-learning framework.

import engine

flow = engine.infer(image1, image2)  # (H, W, 3) uint8 twice -> (H, W, 2) float32 pixels

with engine.load("build/flownets-fp16", backend="tensorrt") as flow_engine:
    for flow in flow_engine.stream(frames):
        ...
"""

import os
import sys
import threading
from typing import Literal, overload

if getattr(sys, "argv", None):  # first: the imports below take a tenth of a second or more
    from engine.system.command import hide_tracebacks

    hide_tracebacks()

from engine.bundle.manifest import Manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
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
from engine.flow.confidence import confidence
from engine.flow.occlusion import occlusion
from engine.flow.warp import warp
from engine.loader import load
from engine.types import Color, Flow, FlowPair, ImageLike, Path

__version__ = "0.1.0"

# Read by ONNX Runtime while it is imported; without it, it keeps an identifier and events in the
# home directory and sends them (microsoft/onnxruntime, docs/Privacy.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "DEFAULT_BUNDLE",
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
    "confidence",
    "infer",
    "infer_files",
    "load",
    "occlusion",
    "warp",
]

_default: FlowEngine | None = None
_default_lock = threading.Lock()


def _renew_lock() -> None:
    """A forked child has no thread that would release it."""
    global _default_lock
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@overload
def infer(
    image1: ImageLike, image2: ImageLike, *, color: Color = ..., backward: Literal[False] = ...
) -> Flow: ...


@overload
def infer(
    image1: ImageLike, image2: ImageLike, *, color: Color = ..., backward: Literal[True]
) -> FlowPair: ...


def infer(
    image1: ImageLike, image2: ImageLike, *, color: Color = "rgb", backward: bool = False
) -> Flow | FlowPair:
    """Return the optical flow between two images, with the default bundle on the fastest backend.

    The first call opens the engine, later calls reuse it. Thread-safe; a forked process opens its
    own engine. Arguments, result and errors are those of ``FlowEngine.infer``, and at the first
    call the errors of ``load``.
    """
    flow_engine = _default_engine()
    if backward:
        return flow_engine.infer(image1, image2, color=color, backward=True)
    return flow_engine.infer(image1, image2, color=color)


@overload
def infer_files(path1: Path, path2: Path, *, backward: Literal[False] = ...) -> Flow: ...


@overload
def infer_files(path1: Path, path2: Path, *, backward: Literal[True]) -> FlowPair: ...


def infer_files(path1: Path, path2: Path, *, backward: bool = False) -> Flow | FlowPair:
    """Return the optical flow between two picture files, as ``infer`` does between images.

    Arguments and errors are those of ``FlowEngine.infer_files``, and at the first call the errors
    of ``load``.
    """
    flow_engine = _default_engine()
    if backward:
        return flow_engine.infer_files(path1, path2, backward=True)
    return flow_engine.infer_files(path1, path2)


def _default_engine() -> FlowEngine:
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = load()
    return _default
