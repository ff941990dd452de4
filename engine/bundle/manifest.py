"""The bundle's contract: ``manifest.json`` read, checked and written.

A bundle is a folder with ``manifest.json`` and the model files that it lists. The manifest is
written last: a folder without one is not a bundle.
"""

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from engine.bundle.strict_json import SchemaError, parsed, strict_json
from engine.errors import BundleError
from engine.system.files import write_atomically

MANIFEST_FILE = "manifest.json"
SCHEMA = 1
_PACKAGE = Path(__file__).resolve().parent
_PLANS = (".plan", ".rtx")


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
class GateResult:
    """What int8 did on one backend to one set of pairs with known flow, against fp32 PyTorch.

    ``epe_before`` and ``epe`` are mean end-point errors in pixels, and ``standard_error`` that of
    their difference, None of a single pair: rounding changes the error of one pair by far more
    than that of many. ``mean_px`` and ``p99_px`` are the mean and the 99th percentile of the
    distance between both flows.
    """

    backend: str
    pairs: str
    epe_before: float
    epe: float
    standard_error: float | None
    mean_px: float
    p99_px: float


@dataclasses.dataclass(frozen=True)
class Gate:
    """The verdict that let an int8 bundle pass.

    ``max_epe_increase`` is relative (0.01 is 1 %); ``in_float`` names the layers that had to stay
    in float for it; ``calibration`` says which pairs the ranges are from.
    """

    max_epe_increase: float
    calibration: str
    in_float: tuple[str, ...]
    results: tuple[GateResult, ...]


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
    ``gate`` is what an int8 bundle had to pass, None in other precisions.
    """

    schema: int = SCHEMA
    network: str
    precision: Literal["fp32", "fp16", "int8"]
    layout: Literal["NHWC"]
    divisor: int
    profile: SizeProfile
    files: dict[str, BundleFile]
    parity: tuple[Parity, ...]
    gate: Gate | None
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
        content = strict_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        advice = _advice(bundle, "Rebuild the bundle.")
        raise BundleError(f"{path} is not valid JSON: {error}. {advice}") from error
    try:
        if isinstance(content, dict) and content.get("schema", SCHEMA) != SCHEMA:
            raise SchemaError(
                f"schema is {content['schema']!r}; this version reads schema {SCHEMA}"
            )
        manifest: Manifest = parsed(Manifest, content, "")
        _check(manifest)
    except SchemaError as error:
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
    except SchemaError as error:
        raise BundleError(f"{path}: {error} Nothing was written.") from None
    text = json.dumps(dataclasses.asdict(manifest), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def verify_files(bundle: Path, manifest: Manifest, names: Iterable[str] | None = None) -> None:
    """Check size, then SHA-256, of the bundle's files (all of them, or ``names``).

    Raises:
        BundleError: A file is missing, truncated or changed.
    """
    for name in manifest.files if names is None else names:
        path, expected = bundle / name, manifest.files[name]
        target = "tensorrt" if name.endswith(_PLANS) else None
        command = rebuild_command(bundle, manifest, target=target)
        advice = _advice(bundle, f"Rebuild it with `{command}`.")
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


def rebuild_command(
    bundle: Path, manifest: Manifest, *, target: str | None = None, whole: bool = False
) -> str:
    """Return the shell command that builds the bundle anew, with the file for ``target``.

    Only the file for TensorRT where there is one and all that it takes, unless the ``whole``
    bundle is meant. In two graphs if it is now, unless the ``whole`` graph is what is missing.
    Its weights, of which a bundle outside of the package knows no more than the hash, are left
    for the reader to name.
    """
    in_package = _is_in_package(bundle)
    if target == "tensorrt" and not whole and not in_package and _has_all_of_its_plan(manifest):
        return f"python -m export.build_engine --rebuild {shlex.quote(str(bundle))}"
    command = f"python -m export.build_engine --network {manifest.network}"
    command += "" if in_package else " --weights FILE"
    command += f" --precision {manifest.precision}"
    if manifest.gate is not None:
        command += f" --max-epe-increase {100 * manifest.gate.max_epe_increase:g}%"
    command += f" --targets {target}" if target else ""
    command += " --split" if "features.onnx" in manifest.files and not whole else ""
    command += " --correlation library" if any(map(_is_library, manifest.files)) else ""
    return f"{command}{_sizes(manifest)} -o {'DIR' if in_package else shlex.quote(str(bundle))}"


def _sizes(manifest: Manifest) -> str:
    profile = manifest.profile
    options = {"--min-size": profile.min, "--size": profile.opt, "--max-size": profile.max}
    sizes = "".join(f" {name} {height}x{width}" for name, (_, height, width) in options.items())
    return f"{sizes} --max-batch {profile.max[0]}"


def _has_all_of_its_plan(manifest: Manifest) -> bool:
    """Whether there is a TensorRT plan, and the graph that it was built from.

    That of a plan whose correlation is a plugin's is not kept.
    """
    names = manifest.files
    has_plan = any(name.endswith(_PLANS) for name in names)
    return has_plan and "model.onnx" in names and not any(map(_is_library, names))


def _is_library(name: str) -> bool:
    return name.endswith(".so")


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


def _check(manifest: Manifest) -> None:
    """Raise ``SchemaError`` where the values are of the right type but make no sense."""
    if manifest.divisor < 1:
        raise SchemaError(f"divisor is {manifest.divisor}; expected at least 1")
    profile = manifest.profile
    for low, typical, high in zip(profile.min, profile.opt, profile.max, strict=True):
        if not 1 <= low <= typical <= high:
            raise SchemaError(f"profile is {profile}; expected 1 <= min <= opt <= max")
    for size in (profile.min, profile.opt, profile.max):
        if size[1] % manifest.divisor or size[2] % manifest.divisor:
            raise SchemaError(
                f"profile has {size[1]}x{size[2]}; expected multiples of {manifest.divisor}"
            )
    if not manifest.files:
        raise SchemaError("files is empty; expected at least one model file")
    for name, file in manifest.files.items():
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or name == MANIFEST_FILE:
            raise SchemaError(f"files has {name!r}; expected a plain file name beside the manifest")
        _check_sha256(file.sha256, f"files.{name}.sha256")
        if file.bytes < 1:
            raise SchemaError(f"files.{name}.bytes is {file.bytes}; expected at least 1")
    _check_sha256(manifest.weights.sha256, "weights.sha256")


def _check_sha256(text: str, where: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise SchemaError(f"{where} is {text!r}; expected 64 lower-case hexadecimal digits")
