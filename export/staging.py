"""Atomic output: a bundle is built in a folder beside its place and exchanged when complete.

At every moment there is the old bundle or the new one at its place, whole: also if the process is
killed, or the power fails, and for all builds and readers at the same time. Where the system cannot
exchange two folders in one step (`engine.system.folders.exchange`), the old one is renamed away
first: a reader in between finds none, and the next build puts it back if the process was killed.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from engine.backends.onnx_graphs import SPLIT, WHOLE
from engine.backends.tensorrt.package import PLAN_FILES, PLUGIN_LIBRARY
from engine.bundle.manifest import MANIFEST_FILE
from engine.bundle.signature import SIGNATURE_FILE
from engine.system.files import sync_to_disk
from engine.system.folders import exchange, is_locked, locked
from engine.system.hidden_names import hidden_stem

# A folder with other files is not overwritten.
_BUNDLE_FILES = {MANIFEST_FILE, SIGNATURE_FILE, WHOLE, *SPLIT, *PLAN_FILES.values(), PLUGIN_LIBRARY}
# Of a killed `export.rebuild` of an older version, which wrote into the bundle itself.
_TEMPORARY = re.compile(r"\.\w+(\.\w+)*\.[0-9a-f]{8}(\.\w+)?")
# Suffixes of the hidden folders beside a bundle.
_BUILDING, _OLD = ".building", ".old"


def check_output(output: Path, known: Collection[str] = _BUNDLE_FILES) -> None:
    """Check that a folder can be written there, before any time is spent on it.

    Args:
        output: the folder.
        known: names of what it may hold already; it is replaced.

    Raises:
        OSError: it cannot; the message says why.
    """
    output = output.resolve()
    existing = next(place for place in (output, *output.parents) if place.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file; expected a folder")
    _check_replaceable(output, known)
    try:
        with staging(output):
            pass
    except OSError as error:
        raise OSError(f"cannot write {output}: {error.strerror}. Choose another folder") from error


def _check_replaceable(output: Path, known: Collection[str]) -> None:
    if not output.exists():
        return
    if os.path.ismount(output):
        raise OSError(f"{output} is a mount point, which cannot be renamed; choose a folder in it")
    strangers = {entry.name for entry in output.iterdir()} - {*known}
    if strangers := {name for name in strangers if not _TEMPORARY.fullmatch(name)}:
        raise FileExistsError(
            f"{output} holds {min(strangers)!r}, which is not part of what is "
            "written there; expected a new or empty folder, or an earlier one of this command"
        )


@contextlib.contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a folder beside the output, on the same file system, so that it can be renamed.

    Its lock is held, which tells it from what a killed build has left; that is removed here.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with locked(output.parent):
            _clean_up(output)
            folder = _beside(output, _BUILDING)
            folder.mkdir()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(locked(folder))
        yield folder


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(f"{hidden_stem(output)}.{secrets.token_hex(4)}{suffix}")


def _clean_up(output: Path) -> None:
    for left in _leftovers(output, _OLD):
        if not output.exists():
            left.rename(output)  # killed between the two renames of `_replace`
    for suffix in (_OLD, _BUILDING):
        for left in _leftovers(output, suffix):
            if not is_locked(left):
                shutil.rmtree(left, ignore_errors=True)


def _leftovers(output: Path, suffix: str) -> list[Path]:
    # Not ".slim.fp16.1.old", which is another output's.
    name = re.compile(rf"{re.escape(hidden_stem(output))}\.[0-9a-f]+{re.escape(suffix)}")
    return [left for left in output.parent.iterdir() if name.fullmatch(left.name)]


def move_into_place(folder: Path, output: Path, known: Collection[str] = _BUNDLE_FILES) -> None:
    """Put a complete folder in its place; an existing one is replaced in one step.

    Args:
        folder: from `staging`. Afterwards it has what was replaced, if anything was.
        output: its place.
        known: names of what may be replaced.

    Raises:
        OSError: it cannot be renamed; an existing folder is left as it was.
    """
    for path in (*folder.iterdir(), folder):
        sync_to_disk(path)
    with locked(output.parent):
        _check_replaceable(output, known)
        if not output.exists():
            folder.rename(output)
        else:
            shutil.copymode(output, folder)
            _replace(folder, output)
    sync_to_disk(output.parent)


def _replace(folder: Path, output: Path) -> None:
    if exchange(folder, output):
        return
    old = _beside(output, _OLD)
    output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
