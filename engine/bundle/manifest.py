"""Read and write ``manifest.json``, the contract between export and engine.

A bundle is a folder with ``manifest.json`` and the files that it lists. The manifest is written
last: a folder without one is not a bundle.
"""

import dataclasses
import json
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
from engine.bundle.strict_json import SchemaError, parsed, strict_json
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


def read_manifest(bundle: Path) -> Manifest:
    """Read and check ``bundle/manifest.json``, of schema 2 or 1.

    Raises:
        BundleError: The folder or its manifest is missing or malformed; a key is unknown or
            missing, or a value has the wrong type or contradicts another.
    """
    path = bundle / MANIFEST_FILE
    if not path.is_file():
        found = "it is not a folder" if not bundle.is_dir() else f"it has no {MANIFEST_FILE}"
        raise BundleError(
            f"{bundle} is not a bundle: {found}; expected a folder written by "
            "`python -m export.build_engine -o DIR`."
        )
    try:
        content = strict_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        advice = repair_advice(bundle, "Rebuild the bundle.")
        raise BundleError(f"{path} is not valid JSON: {error}. {advice}") from error
    try:
        manifest = _manifest_from(content)
        check(manifest)
    except SchemaError as error:
        advice = repair_advice(bundle, "Rebuild the bundle with this version.")
        raise BundleError(f"{path}: {error} {advice}") from None
    return manifest


def _manifest_from(content: Any) -> Manifest:
    schema = content.get("schema", SCHEMA) if isinstance(content, dict) else SCHEMA
    if type(schema) is int and schema == 1:
        return manifest_from_schema1(content)
    if schema != SCHEMA:
        raise SchemaError(f"schema is {schema!r}; this version reads schemas 1 and {SCHEMA}")
    manifest: Manifest = parsed(Manifest, content, "")
    return manifest


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
    text = json.dumps(dataclasses.asdict(manifest), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())
