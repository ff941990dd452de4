"""The files of a store, in a folder or in a zip file; none is read beyond an expected size."""

import errno
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

from engine.errors import FlowFileError, InputError

# What zipfile raises on damage; a seek to a negative place is an OSError, see `_is_damage`.
_DAMAGED = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, ValueError, OSError
)  # fmt: skip
# Others expand a few bytes to gigabytes.
_COMPRESSIONS = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


class StoreFiles(Protocol):
    """Named contents."""

    def read(self, key: str, limit: int) -> bytes:
        """Return a content of at most ``limit`` bytes.

        Raises:
            FlowFileError: It is missing, damaged or larger.
            OSError: It cannot be read.
        """

    def names(self) -> list[str]:
        """Return the paths of all contents, in the order in which they were written if known."""


def open_files(path: Path) -> StoreFiles:
    """Return the files of a store: a folder, a zip file of its content, or a folder in a zip file.

    Raises:
        FlowFileError: It is no folder and no zip file.
        InputError: It does not exist.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        for parent in path.parents:
            if parent.is_file():
                return _Zip(parent, f"{path.relative_to(parent).as_posix()}/")
        raise InputError(f"{path} does not exist; expected a store, a folder that ends in .zarr.")
    return _Zip(path)


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, key: str, limit: int) -> bytes:
        try:
            with (self._path / key).open("rb") as stream:
                return _limited(stream.read(limit + 1), limit)
        except (FileNotFoundError, NotADirectoryError):
            raise _missing() from None

    def names(self) -> list[str]:
        files = sorted(path for path in self._path.rglob("*") if path.is_file())
        return [path.relative_to(self._path).as_posix() for path in files]


class _Zip:
    """The open file belongs to a process: forked ones would share its position."""

    def __init__(self, path: Path, folder: str = "") -> None:
        self._path, self._folder = path, folder
        self._open()

    def read(self, key: str, limit: int) -> bytes:
        if self._process != os.getpid():
            self._open()
        try:
            entry = self._archive.getinfo(self._folder + key)
        except KeyError:
            raise _missing() from None
        if entry.compress_type not in _COMPRESSIONS:
            raise FlowFileError(
                f"is compressed by method {entry.compress_type} in the zip file; expected 0 "
                "(stored) or 8 (deflate). Write it again."
            )
        try:
            with self._archive.open(entry) as stream:
                content = stream.read(limit + 1)
        except _DAMAGED as error:
            if not _is_damage(error):
                raise
            raise FlowFileError(f"cannot be read from the zip file ({error}): damaged.") from None
        return _limited(content, limit)

    def names(self) -> list[str]:
        if self._process != os.getpid():
            self._open()
        entries = self._archive.namelist()
        start = len(self._folder)
        return [name[start:] for name in entries if name.startswith(self._folder)]

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def _open(self) -> None:
        try:
            self._archive = zipfile.ZipFile(self._path)
        except _DAMAGED as error:
            if not _is_damage(error):
                raise
            raise FlowFileError(
                f"{self._path} is no store: {error}; expected a folder or a zip file of its files."
            ) from None
        self._process = os.getpid()


def _is_damage(error: Exception) -> bool:
    """Return whether the content is at fault, and not the disk or the permissions."""
    return not isinstance(error, OSError) or error.errno == errno.EINVAL


def _limited(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise FlowFileError(f"has more than {limit} bytes; expected fewer.")
    return data


def _missing() -> FlowFileError:
    return FlowFileError("is missing; expected a whole store. Copy it again.")
