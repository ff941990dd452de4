"""Model files of a bundle, read once and checked before a runtime parses them."""

import hashlib
from pathlib import Path

from engine.backends.onnx_format import OnnxFormatError, check_onnx
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
        BundleError: the file has changed since ``engine.load`` checked it, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; load it again") from error
    if file is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise BundleError(f"{path} was changed while it was being opened; load the bundle again")
    return content


def read_onnx(path: Path, file: BundleFile | None) -> bytes:
    """Read an ONNX file as `read_model`, and check that it refers to nothing outside itself.

    Raises:
        BundleError: as `read_model`, or the file is no ONNX model, has external data, or has int8
            weights that the manifest does not mention.
    """
    content = read_model(path, file)
    try:
        quantised = check_onnx(content)
    except OnnxFormatError as error:
        raise BundleError(f"{path} {error}. Build the bundle again.") from error
    if quantised and file is not None and file.precision != "int8":
        raise BundleError(
            f"{path} has int8 weights; the manifest says {file.precision}. Build the bundle again."
        )
    return content
