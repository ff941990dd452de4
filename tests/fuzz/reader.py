"""What is fuzzed: a reader of files, valid files of its kind, and the errors that it may raise."""

import atexit
import functools
import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError

# Where the readers are, one module for each package that they need.
MODULES = ("pictures", "flows", "stores", "bundles", "checkpoints", "videos", "texts")


@dataclass(frozen=True)
class Reader:
    """A reader of untrusted bytes.

    Attributes:
        name: for the table; it names the folders of the corpus and of the finds.
        seeds: returns valid files, as bytes; mutations start from them.
        read: reads a file with this content.
        errors: what ``read`` may raise besides the package's own errors.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = ()

    def allows(self, error: BaseException) -> bool:
        """Return whether an error is a message of the package about the input."""
        return isinstance(error, (EngineError, *self.errors))


@functools.cache
def names() -> dict[str, str]:
    """Return the module of each reader; importing all of them takes seconds."""
    return {reader: module for module in MODULES for reader in _module(module).NAMES}


def reader_named(name: str) -> Reader:
    """Return a reader."""
    module = _module(names()[name])
    return next(reader for reader in module.readers() if reader.name == name)


def folder_of(name: str) -> str:
    """Return the name of a reader's folder, in the corpus and for its finds."""
    return re.sub(r"\W+", "-", name).strip("-")


def _module(name: str):
    return importlib.import_module(f"tests.fuzz.readers.{name}")


@functools.cache
def scratch() -> Path:
    """Return a folder of this process for inputs, in memory where possible."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="flow-fuzz-", dir=memory))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def written(data: bytes, name: str) -> Path:
    """Write an input as a file of the scratch folder and return its path."""
    path = scratch() / name
    path.write_bytes(data)
    return path
