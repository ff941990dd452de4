"""Exit codes, error messages and the option `--sign`, which the commands of `export` share."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

from engine.bundle.signature import Signer
from engine.errors import BackendNotInstalledError, BundleError, EngineError, InputError
from engine.system.argument_parser import UsageError
from engine.system.command import INTERRUPTED
from export.verify.parity import VerificationError


def signer_of(key: Path | None) -> Signer | None:
    """Return what signs bundles with a private key; None without one.

    Raises:
        UsageError: the key is missing or of another kind, or cryptography is not installed.
    """
    try:
        return None if key is None else Signer(key)
    except (InputError, BackendNotInstalledError) as error:
        raise UsageError(f"--sign: {error}") from error


def exit_code(command: Callable[[], None], failure: str) -> int:
    """Run a command, print expected errors on stderr and return its exit code.

    Args:
        command: raises UsageError, BundleError, OSError, VerificationError or another EngineError;
            anything else is a bug and is not caught.
        failure: for example "the bundle was not built".

    Returns:
        0, 1 (it failed), 2 (the request cannot be met) or 130 (it was interrupted).
    """
    try:
        command()
    except (UsageError, BundleError, OSError) as error:
        print(f"error: {_text(error, failure)}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print(f"error: {failure}, verification failed:", file=sys.stderr)
        for line in error.failures:
            print(f"  {line}", file=sys.stderr)
        return 1
    except EngineError as error:
        print(f"error: {failure}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; {failure}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _text(error: Exception, failure: str) -> str:
    """Return an error's text; that of a full disk names no file."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"{failure}: {error.strerror}. Free space, or choose a folder on another disk"
    return str(error)
