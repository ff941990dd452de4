"""Read and write ``manifest.json``, the contract between export and engine.

A bundle is a folder with ``manifest.json`` and the files that it lists. The manifest is written
last: a folder without one is not a bundle. Its last key is a SHA-256 of all others, by which
damage is noticed, and an edit that does not renew it; manifests of older versions have none.
"""

import contextlib
import dataclasses
import hashlib
import json
import reprlib
import time
from pathlib import Path
from typing import Any

from engine.bundle.advice import repair_advice
from engine.bundle.checks import check
from engine.bundle.schema import (
    MANIFEST_FILE,
    SCHEMA,
    BundleFile,
    Gate,
    GateResult,
    Manifest,
    OperationCount,
    Parity,
    Precision,
    Preprocessing,
    Recurrence,
    Role,
    SizeProfile,
    WeightsOrigin,
)
from engine.bundle.schema1 import manifest_from_schema1
from engine.bundle.strict_json import SchemaError, parsed, printable, strict_json
from engine.errors import BundleError
from engine.system.files import write_atomically

__all__ = [
    "MANIFEST_FILE",
    "SCHEMA",
    "BundleFile",
    "Gate",
    "GateResult",
    "Manifest",
    "OperationCount",
    "Parity",
    "Precision",
    "Preprocessing",
    "Recurrence",
    "Role",
    "SizeProfile",
    "WeightsOrigin",
    "read_manifest",
    "write_manifest",
]

# The key with the SHA-256 of the others.
_DIGEST = "sha256"
_ATTEMPTS, _PAUSE = 3, 0.005  # seconds
_LARGEST = 1 << 22  # bytes; that of the default bundle has 3 KB


def read_manifest(bundle: Path) -> Manifest:
    """Read and check ``bundle/manifest.json``, of schema 2 or 1.

    Raises:
        BundleError: The folder or its manifest is missing, malformed or changed; a key is unknown
            or missing, or a value has the wrong type or contradicts another.
    """
    return parse_manifest(bundle, manifest_bytes(bundle))


def manifest_bytes(bundle: Path) -> bytes:
    """Read ``bundle/manifest.json``.

    Raises:
        BundleError: The folder or its manifest is missing, or cannot be read.
    """
    path = bundle / MANIFEST_FILE
    try:
        for _ in range(_ATTEMPTS):  # a build may be replacing the bundle in this moment
            if path.is_file():
                with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
                    return stream.read(_LARGEST + 1)
            time.sleep(_PAUSE)
        found = f"it has no {MANIFEST_FILE}" if bundle.is_dir() else "it is not a folder"
    except OSError as error:  # also of a name that is too long
        found = str(error.strerror)
    raise BundleError(
        f"{bundle} is not a bundle: {found}; expected a folder written by "
        "`python -m export.build_engine -o DIR`."
    )


def parse_manifest(bundle: Path, text: bytes) -> Manifest:
    """Return the manifest of a bundle; see `read_manifest`.

    Args:
        bundle: the bundle's folder, for messages.
        text: the content of its ``manifest.json``.
    """
    path = bundle / MANIFEST_FILE
    if len(text) > _LARGEST:
        raise BundleError(f"{path} has over {_LARGEST >> 20} MiB; it is no manifest.")
    try:
        content = strict_json(text.decode())
    except (ValueError, RecursionError) as error:
        advice = repair_advice(bundle, "Rebuild the bundle.")
        raise BundleError(f"{path} is not valid JSON: {error}. {advice}") from error
    try:
        manifest = _manifest_from(content)
        check(manifest)
        _check_digest(content)
    except SchemaError as error:
        advice = repair_advice(bundle, "Rebuild the bundle with this version.")
        raise BundleError(f"{path}: {error} {advice}") from None
    return manifest


def _manifest_from(content: Any) -> Manifest:
    if not isinstance(content, dict):
        raise SchemaError(f"the manifest is {reprlib.repr(content)}; expected an object")
    schema = content.get("schema", SCHEMA)
    if type(schema) is int and schema == 1:
        return manifest_from_schema1(content)
    if schema != SCHEMA:
        raise SchemaError(
            f"schema is {reprlib.repr(schema)}; this version reads schemas 1 and {SCHEMA}"
        )
    fields = {key: value for key, value in content.items() if key != _DIGEST}
    manifest: Manifest = parsed(Manifest, fields, "")
    return manifest


def _check_digest(content: dict[str, Any]) -> None:
    fields = dict(content)
    written = fields.pop(_DIGEST, None)
    if _DIGEST in content and written != _digest(fields):
        raise SchemaError(
            f"its fields do not have the SHA-256 {reprlib.repr(written)} that it states: it was "
            "changed after the build"
        )


def _digest(fields: dict[str, Any]) -> str:
    """Return the SHA-256 of the fields as JSON without spaces, in their order."""
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``bundle/manifest.json`` atomically.

    Raises:
        BundleError: Values of the manifest contradict each other; nothing is written.
        OSError: The file cannot be written.
    """
    path = bundle / MANIFEST_FILE
    try:
        check(manifest)
    except SchemaError as error:
        raise BundleError(f"{path}: {error} Nothing was written.") from None
    fields = printable(dataclasses.asdict(manifest))
    text = json.dumps({**fields, _DIGEST: _digest(fields)}, indent=2, allow_nan=False)
    # Whoever puts the bundle into its place syncs all its files.
    write_atomically(path, f"{text}\n".encode(), sync=False)
