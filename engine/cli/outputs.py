"""Names of files to read and write: checks before anything is computed, and ``-`` for a stream."""

import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from engine.errors import InputError
from engine.system.bounded_reading import read_up_to
from engine.system.files import write_atomically
from engine.system.pixel_limit import max_pixels

STREAM = Path("-")  # stdin or stdout


class OutputNames:
    """Names that a verb writes to: none replaces an input, another output or, unforced, a file."""

    def __init__(self, inputs: Iterable[Path], *, force: bool) -> None:
        """Start with the names that are read.

        Args:
            inputs: may contain ``STREAM``.
            force: whether existing files may be overwritten.
        """
        self._force = force
        self._taken = {os.path.realpath(path): "an input" for path in inputs if path != STREAM}

    def add(self, path: Path) -> None:
        """Take the name of a file, or ``STREAM``.

        Raises:
            InputError: It cannot be written to.
        """
        if path != STREAM:
            self._check_parent(path)
        self._take(path)

    def add_folder(self, folder: Path, files: Iterable[Path]) -> None:
        """Take the names of files in a folder, which need not exist.

        Raises:
            InputError: One cannot be written to.
        """
        if folder == STREAM or (folder.exists() and not folder.is_dir()):
            kind = "stdout" if folder == STREAM else "a file"
            raise InputError(f"{folder} is {kind}; expected a folder. Give another name.")
        self._check_parent(folder)
        for path in files:
            self._take(path)

    def add_new_folder(self, folder: Path) -> None:
        """Take a folder whose files get their names later: it may not exist or is empty.

        Raises:
            InputError: It cannot be written to.
        """
        self.add_folder(folder, [])
        if folder.is_dir() and any(folder.iterdir()) and not self._force:
            raise InputError(
                f"{folder} exists and contains files; expected a new name. Give another, or "
                "--force to overwrite."
            )
        self._take(folder, folder=True)

    def _check_parent(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: {path.parent} is not a folder. Create it.")

    def _take(self, path: Path, *, folder: bool = False) -> None:
        key = str(path) if path == STREAM else os.path.realpath(path)
        if role := self._taken.get(key):
            raise InputError(f"{path} is also {role}; expected another name to write to.")
        if path.is_dir() and not folder:
            raise InputError(f"{path} is a folder; expected the name of a file.")
        if path.is_file() and not self._force:  # false for a pipe or a device
            raise InputError(
                f"{path} exists; expected a new name. Give another, or --force to overwrite."
            )
        self._taken[key] = "another output"


def check_folder_name(folder: Path, suffixes: Collection[str]) -> None:
    """Raise ``InputError`` for a folder to write to that is named like a file, and does not exist.

    Args:
        folder: its name.
        suffixes: of the files that go into it.
    """
    if folder.suffix.lower() in suffixes and not folder.exists():
        raise InputError(
            f"{folder} is the name of a file; expected that of a folder for the files. Leave "
            f"{folder.suffix} out."
        )


def read_stdin() -> bytes:
    """Return what comes from stdin.

    Raises:
        InputError: That is more than the largest picture or flow.
    """
    most = 16 * max_pixels()
    content = read_up_to(sys.stdin.buffer, most + 1)
    if len(content) > most:
        raise InputError(f"stdin sends more than {most} bytes; expected a picture or a flow.")
    return bytes(content)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically, or to stdout."""
    if path == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_atomically(path, data)


def write_in_folder(path: Path, data: bytes) -> None:
    """Write a file atomically; its folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, sync=False)


def shown(path: Path, stream: str = "stdin") -> str:
    """Return a name for messages."""
    return stream if path == STREAM else str(path)
