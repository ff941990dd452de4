"""Hidden names beside an output, of what a command keeps until the output is complete."""

import hashlib
import os
from pathlib import Path

# Of a name; with what is appended it stays below 255, the limit of all common file systems.
_BYTES = 220


def hidden_stem(path: Path) -> str:
    """Return ``.NAME``, the start of hidden names beside ``path``, always the same for a path.

    A name that is too long for anything to be appended is cut, and its hash appended.
    """
    name = os.fsencode(path.name)
    if len(name) <= _BYTES:
        return f".{path.name}"
    start = name[: _BYTES - 17].decode(errors="ignore")
    return f".{start}-{hashlib.sha256(name).hexdigest()[:16]}"
