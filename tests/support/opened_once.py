"""Runtimes that open each file once, however many commands of a test module read it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.backends.onnxruntime.session import CpuSession
from engine.backends.openvino.session import OpenVINOSession


def open_once(patch: pytest.MonkeyPatch) -> None:
    """Let the CPU backends share a session per content and settings; compiling takes seconds."""
    patch.setattr("engine.backends.openvino.backend.OpenVINOSession", _once(OpenVINOSession))
    patch.setattr("engine.backends.onnxruntime.backend.CpuSession", _once(CpuSession))


def _once(open_session: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[tuple[Any, ...], Any] = {}

    def opened(runtime: ModuleType, path: Path, *settings: Any, file: Any, **named: Any) -> Any:
        content = hashlib.sha256(path.read_bytes()).digest()
        key = content, settings, *sorted(named.items())
        if key not in known:
            known[key] = open_session(runtime, path, *settings, file=file, **named)
        return known[key]

    return opened
