"""The installed TensorRT: either package, what it says, and the plugins it is given."""

import functools
import importlib
import logging
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backends.registry import one_line
from engine.errors import BackendError, BackendNotInstalledError

PLAN_FILES = {"tensorrt": "model.plan", "tensorrt_rtx": "model.rtx"}
# In a bundle whose plan takes the correlation from it; CMake builds it (kernels/tensorrt.cmake).
PLUGIN_LIBRARY = "libflow_correlation_tensorrt.so"

_log = logging.getLogger(__name__)
_plugins_lock = threading.Lock()
_loaded_plugins: set[str] = set()


@dataclass(frozen=True)
class TensorRT:
    """An installed TensorRT: the package's name and its module."""

    name: str
    module: Any

    @property
    def plan_file(self) -> str:
        """The name of the plan in a bundle."""
        return PLAN_FILES[self.name]

    @property
    def tool(self) -> str:
        """Package and version, as the manifest has them."""
        return f"{self.name} {self.module.__version__}"


def load_tensorrt(names: Iterable[str] = PLAN_FILES) -> TensorRT:
    """Import the first of the packages ``names`` whose libraries load here.

    Raises BackendNotInstalledError, saying what each import said, when there is none.
    """
    failures = []
    for name in names:
        try:
            return TensorRT(name, importlib.import_module(name))
        except (ImportError, OSError) as error:
            failures.append(f"{name}: {one_line(error)}")
    raise BackendNotInstalledError(
        f"TensorRT is not installed ({'; '.join(failures)}). For RTX cards: "
        "pip install 'flownet-engine[tensorrt-rtx]'; for data-centre GPUs and Jetson: "
        "pip install 'flownet-engine[tensorrt]' --extra-index-url https://pypi.nvidia.com"
    )


class _Messages:
    """What TensorRT says: its errors are kept for the exception that follows."""

    def __init__(self) -> None:
        super().__init__()
        self._errors: deque[str] = deque(maxlen=16)

    def log(self, severity: Any, msg: str) -> None:
        if severity.name in ("ERROR", "INTERNAL_ERROR"):
            self._errors.append(msg)
        _log.log(logging.WARNING if severity.name == "WARNING" else logging.DEBUG, "%s", msg)

    def take(self) -> str:
        """Return the errors since the last call, on one line, and forget them."""
        errors = [self._errors.popleft() for _ in range(len(self._errors))]
        lines = dict.fromkeys(" ".join(error.split()).removesuffix(".") for error in errors)
        return " | ".join(lines) or "TensorRT gave no reason"


@functools.cache
def message_log(module: Any) -> Any:
    """Return the logger of a TensorRT ``module``: it takes one per process and keeps it."""
    return type("MessageLog", (_Messages, module.ILogger), {})()


def load_plugins(runtime: TensorRT, library: Path, sha256: str) -> None:
    """Make the plugins of a library known to TensorRT, once per process and content.

    TensorRT keeps what it has loaded until the process ends, and refuses a second plugin of the
    same name.

    Raises:
        BackendError: TensorRT does not take the library.
    """
    messages = message_log(runtime.module)
    with _plugins_lock:
        if sha256 in _loaded_plugins:
            return
        messages.take()
        if runtime.module.get_plugin_registry().load_library(str(library)) is None:
            raise BackendError(f"{runtime.tool} does not take {library}: {messages.take()}")
        _loaded_plugins.add(sha256)
