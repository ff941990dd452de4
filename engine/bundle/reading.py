"""Open a bundle as a whole, while builds replace it.

A build exchanges the bundle's folder in one step (`export.staging`), but a reader opens one file
after the other: it may find the manifest of the old bundle and the model of the new one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine.bundle.manifest import MANIFEST_FILE, manifest_bytes
from engine.errors import BundleError

Opened = TypeVar("Opened")


def open_whole(bundle: Path, open_bundle: Callable[[bytes], Opened]) -> Opened:
    """Open a bundle; once more whenever it was replaced meanwhile.

    Args:
        bundle: the bundle's folder.
        open_bundle: opens it, given the content of its manifest.

    Raises:
        BundleError: as ``open_bundle``, of a bundle that nobody has replaced since.
    """
    while True:
        before = _identity(bundle)
        text = manifest_bytes(bundle)
        try:
            return open_bundle(text)
        except BundleError:
            if _identity(bundle) == before:
                raise


def _identity(bundle: Path) -> tuple[int, int] | None:
    try:
        found = (bundle / MANIFEST_FILE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
