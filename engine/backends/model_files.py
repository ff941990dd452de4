"""Model files of a bundle, read once and checked before a runtime parses them."""

import hashlib
from pathlib import Path

from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import BundleFile, Manifest
from engine.errors import BackendError, BundleError


def model_file(bundle: Path, manifest: Manifest, name: str, backend: str) -> Path:
    """Return the path of a file of the bundle.

    Raises:
        BackendError: the bundle does not contain the file.
    """
    if name not in manifest.files:
        target = backend.partition("-")[0]
        raise BackendError(
            f"backend {backend} needs {name}; the bundle {bundle} contains "
            f"{', '.join(manifest.files)}. Build one that has it: `"
            f"{rebuild_command(bundle, manifest, target=target, whole=True)}`."
        )
    return bundle / name


def read_model(path: Path, file: BundleFile | None) -> bytes:
    """Read a file and check its SHA-256, so that the runtime parses exactly the checked bytes.

    Args:
        path: the file.
        file: its entry in the manifest; None: do not check.

    Raises:
        BundleError: the file has changed since ``engine.load`` checked it.
    """
    content = path.read_bytes()
    if file is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise BundleError(f"{path} was changed while it was being opened; load the bundle again")
    return content
