"""An argument parser whose errors are one line, raised as exceptions."""

import argparse
from typing import NoReturn


class UsageError(Exception):
    """A request cannot be met; the message names the part at fault and what to do."""


class RaisingParser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser.error`."""
        raise UsageError(message)
