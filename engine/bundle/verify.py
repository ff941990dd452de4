"""Check the files of a bundle against its manifest."""

from collections.abc import Iterable
from pathlib import Path

from engine.bundle.advice import rebuild_command, repair_advice
from engine.bundle.schema import Manifest
from engine.errors import BundleError
from engine.system.files import sha256_of


def verify_files(bundle: Path, manifest: Manifest, names: Iterable[str] | None = None) -> None:
    """Check size, then SHA-256, of the bundle's files (all of them, or ``names``).

    Raises:
        BundleError: A file is missing, truncated, changed or cannot be read.
    """
    for name in manifest.files if names is None else names:
        fault = _fault(bundle / name, manifest.files[name].bytes, manifest.files[name].sha256)
        if fault is not None:
            target = "tensorrt" if manifest.files[name].role == "plan" else None
            command = rebuild_command(bundle, manifest, target=target)
            advice = repair_advice(bundle, f"Rebuild it with `{command}`.")
            raise BundleError(f"{bundle / name} {fault}. {advice}")


def _fault(path: Path, expected_bytes: int, expected_sha256: str) -> str | None:
    try:
        if not path.is_file():
            return "is missing; the manifest lists it"
        size = path.stat().st_size
        if size != expected_bytes:
            state = "truncated" if size < expected_bytes else "changed"
            return f"has {size} bytes; the manifest says {expected_bytes}: {state}"
        sha256 = sha256_of(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if sha256 != expected_sha256:
        return f"has SHA-256 {sha256}; the manifest says {expected_sha256}: changed"
    return None
