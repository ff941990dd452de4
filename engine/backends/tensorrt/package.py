"""The installed TensorRT package and its messages."""

import functools
import importlib
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.errors import BackendNotInstalledError, one_line

PLAN_FILES = {"tensorrt": "model.plan", "tensorrt_rtx": "model.rtx"}
# In a bundle whose plan uses the correlation plugin; built by CMake (kernels/tensorrt.cmake).
PLUGIN_LIBRARY = "libflow_correlation_tensorrt.so"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorRT:
    """An installed TensorRT package.

    Attributes:
        name: a key of ``PLAN_FILES``.
        module: the imported package.
    """

    name: str
    module: Any

    @property
    def plan_file(self) -> str:
        """The name of its plan in a bundle."""
        return PLAN_FILES[self.name]

    @property
    def tool(self) -> str:
        """Package and version, as in the manifest."""
        return f"{self.name} {self.module.__version__}"


def load_tensorrt(names: Iterable[str] = PLAN_FILES) -> TensorRT:
    """Import the first of the packages ``names`` that loads.

    Raises:
        BackendNotInstalledError: none of them loads; the message has the reason for each.
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
    """Logs TensorRT's messages, and stores the errors for the exception that follows."""

    def __init__(self) -> None:
        super().__init__()
        self._errors: deque[str] = deque(maxlen=16)

    def log(self, severity: Any, msg: str) -> None:
        if severity.name in ("ERROR", "INTERNAL_ERROR"):
            self._errors.append(msg)
        _log.log(logging.WARNING if severity.name == "WARNING" else logging.DEBUG, "%s", msg)

    def take(self) -> str:
        """Return the errors since the last call on one line, and clear them."""
        errors = [self._errors.popleft() for _ in range(len(self._errors))]
        lines = dict.fromkeys(" ".join(error.split()).removesuffix(".") for error in errors)
        return " | ".join(lines) or "TensorRT gave no reason"


@functools.cache
def message_log(module: Any) -> Any:
    """Return the logger of a TensorRT module, which accepts only one per process."""
    return type("MessageLog", (_Messages, module.ILogger), {})()
