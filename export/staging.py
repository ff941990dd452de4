"""Atomic output: a bundle is built in a folder beside its place and renamed when complete."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.backends.onnx_graphs import SPLIT, WHOLE
from engine.backends.tensorrt.package import PLAN_FILES, PLUGIN_LIBRARY
from engine.bundle.manifest import MANIFEST_FILE

# A folder with other files is not overwritten.
_BUNDLE_FILES = {MANIFEST_FILE, WHOLE, *SPLIT, *PLAN_FILES.values(), PLUGIN_LIBRARY}


def check_output(output: Path) -> None:
    """Check that a bundle can be written there, before any time is spent on it.

    Raises:
        OSError: it cannot; the message says why.
    """
    output = output.resolve()
    existing = next(place for place in (output, *output.parents) if place.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file; expected a folder")
    if existing == output:
        strangers = {entry.name for entry in output.iterdir()} - _BUNDLE_FILES
        if strangers:
            raise FileExistsError(
                f"{output} holds {min(strangers)!r}, which is not part of a bundle; expected a new "
                "or empty folder, or an earlier bundle"
            )
    try:
        with staging(output):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write {output}: {error.strerror}. Choose another folder with -o"
        ) from error


@contextlib.contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a folder beside the output, on the same file system, so that it can be renamed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(output, "building")
    for left in _leftovers(output, "old"):
        if not output.exists():
            left.rename(output)  # killed between the two renames of `move_into_place`
    for left in (*_leftovers(output, "old"), *_leftovers(output, "building")):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _beside(output: Path, what: str) -> Path:
    return output.parent / f".{output.name}.{os.getpid()}.{what}"


def _leftovers(output: Path, what: str) -> list[Path]:
    """Return folders of killed processes; in a container a process id can be reused."""
    # Not ".slim.fp16.1.old", which is another output's.
    name = re.compile(rf"\.{re.escape(output.name)}\.(\d+)\.{what}")
    found = [(left, name.fullmatch(left.name)) for left in output.parent.iterdir()]
    return [
        left
        for left, of_process in found
        if of_process and (left == _beside(output, what) or not _is_running(int(of_process[1])))
    ]


def _is_running(process: int) -> bool:
    """Return whether a process has this id; True where that is unknown."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def move_into_place(folder: Path, output: Path) -> None:
    """Rename a complete folder to its place; an existing bundle is replaced."""
    if not output.exists():
        folder.rename(output)
        return
    old = _beside(output, "old")
    output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
