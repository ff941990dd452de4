"""Folders that processes share: exchange two in one step, and lock one."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

# fcntl.h and linux/fs.h
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# What a system or a file system without the exchange says.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EXDEV}


def exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders of one file system, in one step.

    By ``renameat2`` (Linux, glibc 2.28; ext4, xfs, btrfs, tmpfs, overlayfs). macOS and NFS have no
    such call that this uses.

    Returns:
        Whether this system can; else nothing has changed.

    Raises:
        FileNotFoundError: one of them does not exist.
        OSError: they cannot be renamed.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if fcntl else None
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process at the latest; wait for others.

    A file system without locks (some network ones) is used without.
    """
    with _opened(folder) as descriptor:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_at_once(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder unless somebody else does; yield False if so.

    A file system without locks (some network ones) is used without.
    """
    with _opened(folder) as descriptor:
        alone = True
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                alone = False
            except OSError:
                pass
        yield alone


def is_locked(folder: Path) -> bool:
    """Return whether another process, or another part of this one, holds a folder's lock.

    True where that is unknown.
    """
    if fcntl is None:
        return True
    try:
        with _opened(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    if fcntl is None:
        yield -1
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
