"""What takes long to compute is kept on disk for the next process: compiled models, timings.

In ``$FLOWNET_ENGINE_CACHE`` (empty: nowhere), else ``$XDG_CACHE_HOME/flownet-engine``, else
``~/.cache/flownet-engine`` (https://specifications.freedesktop.org/basedir-spec/latest/). A cache
that cannot be used is never an error: one warning, and the work is done anew. What lies in the
folder is checked against damage, not against its owner: it is trusted as the bundle is.
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
# In bytes, of all files together. The least recently used go first.
LIMIT = 1 << 30
_DIGEST_BYTES = hashlib.sha256().digest_size
# No other file in the folder is ever counted or removed. The end is a temporary file's, left over
# by a process that was killed.
_OURS = re.compile(r"\.?[\w.-]*-[0-9a-f]{64}(\.[0-9a-f]{8})?", re.ASCII)

_log = logging.getLogger("engine")
_warned: set[Path] = set()


def cache_folder() -> Path | None:
    """Return where things are kept; None: nowhere. It may not be there yet."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        # A shell replaces "~" itself, a container's or a service's settings do not.
        return Path(os.path.expanduser(chosen)) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # such a value is to be ignored, says the specification
        base = os.path.expanduser("~/.cache")
    if not os.path.isabs(base):  # a user without a home, as in some containers
        _warn(Path(base), "there is no home directory")
        return None
    return Path(base) / "flownet-engine"


def cache_key(kind: str, *parts: str) -> str:
    """Return the name under which something is kept: ``kind``, readable, and a SHA-256 of it all.

    Args:
        kind: what it is, for instance ``"openvino"``.
        parts: everything that it depends on.
    """
    digest = hashlib.sha256(json.dumps([kind, *parts]).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', kind)[:60]}-{digest}"


def read_cached(key: str) -> bytes | None:
    """Return what was last written under a key, or None; never raises.

    A file that is not what was written (truncated, changed) is removed.
    """
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / key
    try:
        with path.open("rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(folder, str(error))
        return None
    if hashlib.sha256(data).digest() != digest:
        _log.warning("%s is damaged and will be written anew", path)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the time of use, for _make_room
    return data


def write_cached(key: str, data: bytes) -> None:
    """Keep ``data`` under a key, whole or not at all; never raises.

    Several processes may write the same key at once: the last one's stays.
    """
    folder = cache_folder()
    if folder is None or _DIGEST_BYTES + len(data) > LIMIT:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / key, hashlib.sha256(data).digest() + data)
        _make_room(folder)
    except OSError as error:
        _warn(folder, str(error))


def _make_room(folder: Path) -> None:
    """Remove the least recently used files until the others hold ``LIMIT``."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
    excess = sum(size for _, size, _ in found) - LIMIT
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        Path(path).unlink(missing_ok=True)
        excess -= size


def _warn(folder: Path, reason: str) -> None:
    """Say it once in this process."""
    if folder not in _warned:
        _warned.add(folder)
        _log.warning(
            "the cache %s does not work: %s. Set %s to a folder that can be written, or to nothing "
            "to do without a cache",
            folder, reason, VARIABLE,
        )  # fmt: skip
