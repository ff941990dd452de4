"""Atomic writing of files, and their SHA-256."""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename it into place.

    A replaced file keeps its permissions. A symbolic link stays, and its target is replaced. Data
    for a pipe or a device, such as ``/dev/null``, are written directly.

    Raises:
        OSError: the file cannot be written; the error contains ``path``.
    """
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            path.write_bytes(data)  # raises IsADirectoryError for a folder
        else:
            with replacing(path) as temporary:
                temporary.write_bytes(data)
    except OSError as error:
        if error.errno is None:  # not from the operating system
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _mode(path: Path) -> int | None:
    """Return the type and permissions of a file; None if it does not exist."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` to write to; rename it to ``path`` afterwards.

    Where the block raises, ``path`` is left as it was. A replaced file keeps its permissions. A
    symbolic link stays, and its target is replaced. The temporary name has the same suffix.
    """
    path = Path(os.path.realpath(path))
    mode = _mode(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # already renamed, or never created
            temporary.unlink()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
