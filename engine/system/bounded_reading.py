"""Opening files that somebody else named, and reading no more of them than is wanted."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.errors import InputError

_PIECE = 1 << 20
_KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))


def path_of(name: object, expected: str) -> Path:
    """Return the name of a file as a path; ``InputError`` if it is no name."""
    if isinstance(name, str | bytes | os.PathLike):
        return Path(os.fsdecode(name))
    raise InputError(f"{type(name).__name__} is no name of a file; expected {expected}")


@contextlib.contextmanager
def opened(path: Path, expected: str) -> Iterator[IO[bytes]]:
    """Open a file for reading; never wait for a pipe or read a device, which may be endless.

    Args:
        path: its name.
        expected: what it is expected to be, and what to do, for error messages.

    Raises:
        InputError: It is no file, or has an impossible name.
        OSError: It does not exist, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise InputError(f"{str(path)!r:.80} is no name of a file; expected {expected}") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise InputError(
            f"{str(path)[:40]}... is a name of {len(os.fsencode(path))} bytes, too long for this "
            f"file system; expected {expected}"
        ) from None
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
        raise InputError(f"{path} is {kind}; expected {expected}")
    with path.open("rb") as stream:
        yield stream


def read_up_to(stream: IO[bytes], count: int) -> bytearray:
    """Return the next ``count`` bytes or what there is; memory grows with what is read only."""
    content = bytearray()
    while piece := stream.read(min(_PIECE, count - len(content))):
        content += piece
    return content
