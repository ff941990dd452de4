"""Exceptions of this package, one class per kind of error.

Every message states what is wrong, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class EngineError(Exception):
    """Base class of all exceptions that this package raises on purpose."""


class InputError(EngineError, ValueError):
    """An image or another argument is invalid."""


class BundleError(EngineError):
    """A bundle is missing, incomplete, changed or malformed."""


class BackendError(EngineError):
    """A runtime cannot run the bundle on this machine."""


class BackendNotInstalledError(BackendError):
    """The runtime's Python package is not installed."""


class HardwareMissingError(BackendError):
    """The GPU or driver that a runtime needs is missing, or the runtime does not support it.

    The bundle may still run on another machine.
    """


class PlanMismatchError(BackendError):
    """A TensorRT plan was built for another TensorRT version or another GPU."""


class FlowFileError(EngineError, ValueError):
    """A flow file is truncated, malformed or of an unknown format."""


def sentence(text: str) -> str:
    """Return ``text`` on one line, with a full stop unless it ends in punctuation."""
    line = " ".join(text.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name closest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def one_line(error: BaseException) -> str:
    """Return an error's text on one line and without a final full stop."""
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__
