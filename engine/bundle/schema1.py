"""Reader for manifests of schema 1, written by version 0.1 before schema 2."""

import dataclasses
from typing import Any, Literal

from engine.bundle.schema import (
    BundleFile,
    Gate,
    Manifest,
    Parity,
    Precision,
    Role,
    SizeProfile,
    WeightsOrigin,
)
from engine.bundle.strict_json import parsed


@dataclasses.dataclass(frozen=True)
class _File:
    bytes: int
    sha256: str
    tool: str
    compute_capability: str | None


@dataclasses.dataclass(frozen=True)
class _Manifest:
    schema: int
    network: str
    precision: Precision
    layout: Literal["NHWC"]
    divisor: int
    profile: SizeProfile
    files: dict[str, _File]
    parity: tuple[Parity, ...]
    gate: Gate | None
    weights: WeightsOrigin


def manifest_from_schema1(content: Any) -> Manifest:
    """Return the JSON value of a schema 1 manifest as a ``Manifest`` of schema 2.

    Raises:
        SchemaError: A key is unknown or missing, or a value has the wrong type.
    """
    old = parsed(_Manifest, content, "")
    fields = {field.name: getattr(old, field.name) for field in dataclasses.fields(old)}
    del fields["schema"]
    fields["files"] = {name: _file(name, file, old.precision) for name, file in old.files.items()}
    return Manifest(**fields)


def _file(name: str, file: _File, precision: Precision) -> BundleFile:
    role = role_of(name)
    return BundleFile(
        role=role, precision=None if role == "plugin" else precision, **dataclasses.asdict(file)
    )


def role_of(name: str) -> Role:
    """Return the role that schema 1 implied by a file's name."""
    if name in ("features.onnx", "match.onnx"):
        return "features" if name == "features.onnx" else "match"
    if name.endswith((".plan", ".rtx")):
        return "plan"
    return "plugin" if name.endswith(".so") else "network"
