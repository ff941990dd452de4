"""Exit codes and error messages that the commands of `export` share."""

import sys
from collections.abc import Callable

from engine.errors import BundleError, EngineError
from engine.system.argument_parser import UsageError
from export.verify.parity import VerificationError


def exit_code(command: Callable[[], None], failure: str) -> int:
    """Run a command, print expected errors on stderr and return its exit code.

    Args:
        command: raises UsageError, BundleError, OSError, VerificationError or another EngineError;
            anything else is a bug and is not caught.
        failure: for example "the bundle was not built".

    Returns:
        0, 1 (it failed) or 2 (the request cannot be met).
    """
    try:
        command()
    except (UsageError, BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print(f"error: {failure}, verification failed:", file=sys.stderr)
        for line in error.failures:
            print(f"  {line}", file=sys.stderr)
        return 1
    except EngineError as error:
        print(f"error: {failure}: {error}", file=sys.stderr)
        return 1
    return 0
