"""What can go wrong, one class per kind, so that a caller can tell them apart.

Every message says what was wrong, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class EngineError(Exception):
    """Base of everything this package raises on purpose."""


class InputError(EngineError, ValueError):
    """An image (or another argument) cannot be used as it is."""


class BundleError(EngineError):
    """A bundle is missing, incomplete, changed or malformed."""


class BackendError(EngineError):
    """A runtime cannot run this bundle on this machine."""


class BackendNotInstalledError(BackendError):
    """The runtime's Python package is not installed."""


class HardwareMissingError(BackendError):
    """The GPU or the driver that a runtime needs is not there, or the runtime does not support it.

    Says nothing against the bundle, which may well run on another machine.
    """


class PlanMismatchError(BackendError):
    """A TensorRT plan was built for another TensorRT version or another GPU."""


class FlowFileError(EngineError, ValueError):
    """A flow file is truncated, malformed or of an unknown format."""


def sentence(text: str) -> str:
    """Return the text on one line that ends as a sentence does."""
    line = " ".join(text.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name closest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def one_line(error: BaseException) -> str:
    """Return an error's text on one line and without a final full stop."""
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__
