"""Import a runtime's Python package, or raise an error that gives the install command."""

import importlib
from types import ModuleType

from engine.errors import BackendError, BackendNotInstalledError, one_line


def import_runtime(module: str, backend: str, *, install: str) -> ModuleType:
    """Import a runtime's Python package.

    Args:
        module: its import name.
        backend: the backend that needs it, for the message.
        install: the shell command that installs it, for the message.

    Raises:
        BackendNotInstalledError: the package is not installed.
        BackendError: the package is installed but fails to load.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise BackendNotInstalledError(
                f"backend {backend} needs the package {module}, which is not installed. "
                f"Install it: {install}"
            ) from error
        raise _broken(module, install, error) from error
    except (ImportError, OSError) as error:
        raise _broken(module, install, error) from error


def _broken(module: str, install: str, error: Exception) -> BackendError:
    return BackendError(
        f"the package {module} is installed but does not load: {one_line(error)}. "
        f"Reinstall it: {install}"
    )
