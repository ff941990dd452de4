"""Files that save time in the next process: compiled models, compiled kernels, timings.

They are in ``$FLOWNET_ENGINE_CACHE`` (empty: no cache), else ``$XDG_CACHE_HOME/flownet-engine``,
else ``~/.cache/flownet-engine`` (https://specifications.freedesktop.org/basedir-spec/latest/).
A cache that cannot be used is never an error: one warning is logged, and the work is done again.
The content is trusted as a bundle is. `read_cached` detects damage by SHA-256; OpenVINO writes and
checks its files itself.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from pathlib import Path

from engine.system.files import write_atomically

VARIABLE = "FLOWNET_ENGINE_CACHE"
# Bytes per subfolder. The files that were used least recently are removed first.
LIMIT = 1 << 30
_STORE = "data"
_DIGEST_BYTES = hashlib.sha256().digest_size

_log = logging.getLogger("engine")
_warned: set[Path] = set()


def cache_folder() -> Path | None:
    """Return the cache folder, which may not exist yet; None: no cache."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        # The settings of containers and services do not expand "~" as a shell does.
        return Path(os.path.expanduser(chosen)) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification says to ignore such a value
        base = os.path.expanduser("~/.cache")
    if not os.path.isabs(base):  # a user without a home directory, as in some containers
        _warn(Path(base), "there is no home directory")
        return None
    return Path(base) / "flownet-engine"


def writable_folder(name: str) -> Path | None:
    """Return subfolder ``name`` of the cache, created and limited to ``LIMIT`` bytes.

    Returns:
        None if there is no cache or the folder cannot be written; logs the reason once.
    """
    base = cache_folder()
    if base is None:
        return None
    folder = base / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(folder)
    except OSError as error:
        _warn(base, str(error))
        return None
    if not os.access(folder, os.W_OK):
        _warn(base, f"{folder} is not writable")
        return None
    return folder


def cache_key(kind: str, *parts: str) -> str:
    """Return a file name: the readable ``kind``, and the SHA-256 of all arguments.

    Args:
        kind: what is stored, for instance ``"tensorrt-timings"``.
        parts: everything that the content depends on.
    """
    digest = hashlib.sha256(json.dumps([kind, *parts]).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', kind)[:60]}-{digest}"


def read_cached(key: str) -> bytes | None:
    """Return what was last written under a key, or None; never raises.

    A damaged file (truncated or changed) is removed.
    """
    base = cache_folder()
    if base is None:
        return None
    path = base / _STORE / key
    try:
        with path.open("rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(base, str(error))
        return None
    if hashlib.sha256(data).digest() != digest:
        _log.warning("%s is damaged and will be written again", path)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the time of use, for _make_room
    return data


def write_cached(key: str, data: bytes) -> None:
    """Store ``data`` under a key, whole or not at all; never raises.

    If several processes write the same key at once, the last one wins.
    """
    folder = writable_folder(_STORE)
    if folder is None or _DIGEST_BYTES + len(data) > LIMIT:
        return
    try:
        write_atomically(folder / key, hashlib.sha256(data).digest() + data, sync=False)
        _make_room(folder)
    except OSError as error:
        _warn(folder.parent, str(error))


def _make_room(folder: Path) -> None:
    """Remove the least recently used files until the rest is within ``LIMIT``."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    # OpenVINO reads its files without changing a time but, on most file systems
                    # once a day, that of access.
                    used = max(status.st_mtime_ns, status.st_atime_ns)
                    found.append((used, status.st_size, entry.path))
    excess = sum(size for _, size, _ in found) - LIMIT
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        Path(path).unlink(missing_ok=True)
        excess -= size


def _warn(folder: Path, reason: str) -> None:
    """Log it once per process and folder."""
    if folder not in _warned:
        _warned.add(folder)
        _log.warning(
            "the cache %s does not work: %s. Set %s to a folder that can be written, or to nothing "
            "to run without a cache",
            folder, reason, VARIABLE,
        )  # fmt: skip
