"""Helpers that the command lines of this package share: one-line errors and argument types."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import nearest


class UsageError(Exception):
    """The request cannot be met; the message names the part and what to do."""


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line, as all errors of this package's commands."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def exit_code(parts: Iterable[Mapping[str, Any]], *, require_gpu: bool) -> int:
    """Return 1 if a part of the result failed, or if a GPU row is required and none was measured.

    Args:
        parts: mappings with ``status`` and, where a device was used, ``device``.
        require_gpu: whether at least one row must have run on a GPU.
    """
    parts = list(parts)
    if any(part["status"] == "failed" for part in parts):
        return 1
    measured = [str(part.get("device")) for part in parts if part["status"] == "ok"]
    if require_gpu and not any(device.startswith("cuda") for device in measured):
        print("error: no row was measured on a GPU; see the reasons above", file=sys.stderr)
        return 1
    return 0


def names(text: str) -> list[str]:
    """Names separated by commas, each once."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return list(dict.fromkeys(found))


def names_among(known: Collection[str], kind: str) -> Callable[[str], list[str]]:
    """A type of ``names`` of which each is ``known``; ``kind`` is what a message calls them."""

    def check(text: str) -> list[str]:
        found = names(text)
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"unknown {kind} {name!r}; expected {', '.join(known)}.{nearest(name, known)}"
                )
        return found

    return check


def size(text: str) -> tuple[int, int]:
    """``HxW`` in pixels."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HxW, e.g. 384x512")
    return int(match[1]), int(match[2])


def count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected 1 or more")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; expected seconds, more than 0")
    return value


def output_file(text: str) -> Path:
    """Return the path of a file to write; its folders are created later."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; expected the name of a file")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be created: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be created: {above} is not writable")
    return path
