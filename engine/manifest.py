"""The bundle's contract: ``manifest.json`` read, checked and written.

A bundle is a folder with ``manifest.json`` and the model files that it lists. The manifest is
written last: a folder without one is not a bundle.
"""

import dataclasses
import hashlib
import json
import re
import reprlib
import sys
import types
import typing
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

from engine.errors import BundleError, nearest
from engine.files import write_atomically

MANIFEST_FILE = "manifest.json"
SCHEMA = 1
_PACKAGE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class SizeProfile:
    """Sizes a plan was built for, each ``(batch, height, width)``, in pixels after padding."""

    min: tuple[int, int, int]
    opt: tuple[int, int, int]
    max: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class BundleFile:
    """One model file: its content, the tool that wrote it and, for a plan, the GPU it is for."""

    bytes: int
    sha256: str
    tool: str
    compute_capability: str | None


@dataclasses.dataclass(frozen=True)
class Parity:
    """Difference to fp32 PyTorch found at build time: flow and end-point error in pixels."""

    backend: str
    status: Literal["ok", "not run"]
    reason: str | None
    mean_px: float | None
    max_px: float | None
    epe_change: float | None
    pairs: str


@dataclasses.dataclass(frozen=True)
class WeightsOrigin:
    """Where the weights came from, and their end-point error in pixels by data set."""

    sha256: str
    source: str
    licence: str
    epe: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything known about a bundle.

    ``profile`` holds for the TensorRT plan; the ONNX file takes any multiple of ``divisor``.
    """

    schema: int = SCHEMA
    network: str
    precision: Literal["fp32", "fp16", "int8"]
    layout: Literal["NHWC"]
    divisor: int
    profile: SizeProfile
    files: dict[str, BundleFile]
    parity: tuple[Parity, ...]
    weights: WeightsOrigin


def read_manifest(bundle: Path) -> Manifest:
    """Read and check ``bundle/manifest.json``.

    Raises:
        BundleError: The folder or its manifest is missing or malformed; a key is unknown or
            missing, or a value has the wrong type or makes no sense.
    """
    path = bundle / MANIFEST_FILE
    if not path.is_file():
        found = "it is not a folder" if not bundle.is_dir() else f"it has no {MANIFEST_FILE}"
        raise BundleError(
            f"{bundle} is not a bundle: {found}; expected a folder written by "
            "`python -m export.build_engine -o DIR`."
        )
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        advice = _advice(bundle, "Rebuild the bundle.")
        raise BundleError(f"{path} is not valid JSON: {error}. {advice}") from error
    try:
        if isinstance(content, dict) and content.get("schema", SCHEMA) != SCHEMA:
            raise _ValueError(
                f"schema is {content['schema']!r}; this version reads schema {SCHEMA}"
            )
        manifest: Manifest = _parsed(Manifest, content, "")
        _check(manifest)
    except _ValueError as error:
        advice = _advice(bundle, "Rebuild the bundle with this version.")
        raise BundleError(f"{path}: {error} {advice}") from None
    return manifest


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``bundle/manifest.json``, whole or not at all.

    Raises:
        BundleError: The manifest makes no sense; nothing is written.
    """
    path = bundle / MANIFEST_FILE
    try:
        _check(manifest)
    except _ValueError as error:
        raise BundleError(f"{path}: {error} Nothing was written.") from None
    text = json.dumps(dataclasses.asdict(manifest), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def verify_files(bundle: Path, manifest: Manifest, names: Iterable[str] | None = None) -> None:
    """Check size, then SHA-256, of the bundle's files (all of them, or ``names``).

    Raises:
        BundleError: A file is missing, truncated or changed.
    """
    advice = _advice(bundle, f"Rebuild it with `{rebuild_command(bundle, manifest)}`.")
    for name in manifest.files if names is None else names:
        path, expected = bundle / name, manifest.files[name]
        if not path.is_file():
            raise BundleError(f"{path} is missing; the manifest lists it. {advice}")
        size = path.stat().st_size
        if size != expected.bytes:
            raise BundleError(
                f"{path} has {size} bytes; the manifest says {expected.bytes}: "
                f"{'truncated' if size < expected.bytes else 'changed'}. {advice}"
            )
        sha256 = sha256_of(path)
        if sha256 != expected.sha256:
            raise BundleError(
                f"{path} has SHA-256 {sha256}; the manifest says {expected.sha256}: "
                f"changed. {advice}"
            )


def rebuild_command(bundle: Path, manifest: Manifest, *, target: str | None = None) -> str:
    """Return the shell command that builds the bundle anew, with the file for ``target``."""
    chosen = f"--targets {target} " if target else ""
    output = "DIR" if _is_in_package(bundle) else str(bundle)
    return (
        f"python -m export.build_engine --network {manifest.network} "
        f"--precision {manifest.precision} {chosen}-o {output}"
    )


def _advice(bundle: Path, rebuild: str) -> str:
    """Say how a damaged bundle is repaired: nobody builds into an installed package."""
    return "It is part of flownet-engine: reinstall that." if _is_in_package(bundle) else rebuild


def _is_in_package(bundle: Path) -> bool:
    return bundle.resolve().is_relative_to(_PACKAGE)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class _ValueError(Exception):
    """What is wrong with a manifest, without its path; as text, a sentence with its end."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if text.endswith("?") else f"{text}."


def _check(manifest: Manifest) -> None:
    """Raise ``_ValueError`` where the values are of the right type but make no sense."""
    if manifest.divisor < 1:
        raise _ValueError(f"divisor is {manifest.divisor}; expected at least 1")
    profile = manifest.profile
    for low, typical, high in zip(profile.min, profile.opt, profile.max, strict=True):
        if not 1 <= low <= typical <= high:
            raise _ValueError(f"profile is {profile}; expected 1 <= min <= opt <= max")
    for size in (profile.min, profile.opt, profile.max):
        if size[1] % manifest.divisor or size[2] % manifest.divisor:
            raise _ValueError(
                f"profile has {size[1]}x{size[2]}; expected multiples of {manifest.divisor}"
            )
    if not manifest.files:
        raise _ValueError("files is empty; expected at least one model file")
    for name, file in manifest.files.items():
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or name == MANIFEST_FILE:
            raise _ValueError(f"files has {name!r}; expected a plain file name beside the manifest")
        _check_sha256(file.sha256, f"files.{name}.sha256")
        if file.bytes < 1:
            raise _ValueError(f"files.{name}.bytes is {file.bytes}; expected at least 1")
    _check_sha256(manifest.weights.sha256, "weights.sha256")


def _check_sha256(text: str, where: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise _ValueError(f"{where} is {text!r}; expected 64 lower-case hexadecimal digits")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"a key appears twice among {[key for key, _ in pairs]}")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _parsed(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as ``kind``: a dataclass, a scalar, or a generic of these."""
    if dataclasses.is_dataclass(kind):
        return _parsed_object(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # always `X | None` here
        return None if value is None else _parsed(arguments[0], value, where)
    if origin is Literal:
        if value not in arguments:
            guess = nearest(value, arguments) if isinstance(value, str) else ""
            raise _ValueError(
                f"{where} is {reprlib.repr(value)}; expected one of {list(arguments)}{guess}"
            )
        return value
    if origin is tuple:
        items = _of_type(value, list, where)
        kinds = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(items) != len(kinds):
            raise _ValueError(f"{where} has {len(items)} items; expected {len(kinds)}")
        pairs = zip(kinds, items, strict=True)
        return tuple(_parsed(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(pairs))
    if origin is dict:
        content = _of_type(value, dict, where)
        return {key: _parsed(arguments[1], v, f"{where}.{key}") for key, v in content.items()}
    if kind is float:
        return _parsed_float(value, where)
    return _of_type(value, kind, where)


def _parsed_object(kind: Any, value: Any, where: str) -> Any:
    content = _of_type(value, dict, where or "the manifest")
    kinds = typing.get_type_hints(kind)
    _refuse_keys("unknown", content.keys() - kinds.keys(), where, kinds)
    _refuse_keys("missing", kinds.keys() - content.keys(), where, ())
    prefix = f"{where}." if where else ""
    return kind(**{key: _parsed(kinds[key], v, f"{prefix}{key}") for key, v in content.items()})


def _refuse_keys(fault: str, keys: set[str], where: str, known: Collection[str]) -> None:
    if keys:
        place = f" in {where}" if where else ""
        guess = nearest(min(keys), known)
        raise _ValueError(f"{fault} key {', '.join(map(repr, sorted(keys)))}{place}{guess}")


def _parsed_float(value: Any, where: str) -> float:
    # The bound refuses infinity, and whole numbers that no float can hold.
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise _ValueError(f"{where} is {reprlib.repr(value)}; expected a finite number")
    return float(value)


def _of_type(value: Any, kind: type, where: str) -> Any:
    # `type(...) is` and not isinstance: True is an int.
    if type(value) is not kind:
        name = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}[kind]
        raise _ValueError(f"{where} is {reprlib.repr(value)}; expected {name}")
    return value
