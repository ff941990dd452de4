"""OpenVINO itself: import it without its telemetry, open its one core."""

import sys
from functools import cache
from types import ModuleType
from typing import Any

from engine.backends.runtime_import import import_runtime

_TELEMETRY = "openvino_telemetry"


def version_of(openvino: ModuleType) -> str:
    """Return the release, without build number and branch."""
    return str(openvino.__version__).split("-")[0]


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    ``import openvino`` reports to Google Analytics unless the package ``openvino_telemetry`` cannot
    be imported (``openvino/tools/ovc/telemetry_utils.py``). It also delays the first flow by 12 to
    28 %.

    Raises:
        BackendError: OpenVINO is not installed, or does not load.
    """
    hide = _TELEMETRY not in sys.modules
    if hide:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
    try:
        return import_runtime("openvino", "openvino", install="pip install openvino")
    finally:
        if hide:
            sys.modules.pop(_TELEMETRY, None)


@cache
def core_of(openvino: ModuleType) -> Any:
    """Return the ``openvino.Core`` of this process, which is never destroyed.

    The CPU plugin of a core gives the thread that loads it a stack for signal handlers and unmaps
    that stack with the core, but takes it from the thread only if the core is destroyed in the same
    thread and before any older one (``SigAltStackSetup`` in ``src/plugins/intel_cpu``). After any
    other order the next signal with a Python handler, Ctrl-C for one, ends the process by SIGSEGV.

    Args:
        openvino: the module.
    """
    return openvino.Core()
