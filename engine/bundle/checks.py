"""Rules for the values of a manifest, besides their types."""

import re

from engine.bundle.schema import MANIFEST_FILE, BundleFile, Manifest, SizeProfile
from engine.bundle.strict_json import SchemaError


def check(manifest: Manifest) -> None:
    """Raise ``SchemaError`` for values of the right type that contradict each other or the format.

    ``engine.bundle.strict_json.parsed`` has checked the types.
    """
    if manifest.divisor < 1:
        raise SchemaError(f"divisor is {manifest.divisor}; expected at least 1")
    if manifest.smallest < 1:
        raise SchemaError(f"smallest is {manifest.smallest}; expected at least 1")
    updates = manifest.recurrence
    if updates is not None and not (updates.iterations > 0 and updates.stride > 0):
        raise SchemaError(f"recurrence is {updates}; expected positive numbers")
    if manifest.passes is not None and manifest.passes < 1:
        raise SchemaError(f"passes is {manifest.passes}; expected at least 1")
    _check_profile(manifest.profile, manifest.divisor)
    if manifest.parameters is not None and manifest.parameters < 1:
        raise SchemaError(f"parameters is {manifest.parameters}; expected at least 1")
    count = manifest.operations
    if count is not None and not (count.gflop > 0 and count.height > 0 and count.width > 0):
        raise SchemaError(f"operations is {count}; expected positive numbers")
    if not manifest.files:
        raise SchemaError("files is empty; expected at least one model file")
    for name, file in manifest.files.items():
        _check_file(name, file)
    _check_sha256(manifest.weights.sha256, "weights.sha256")


def _check_profile(profile: SizeProfile, divisor: int) -> None:
    for low, typical, high in zip(profile.min, profile.opt, profile.max, strict=True):
        if not 1 <= low <= typical <= high:
            raise SchemaError(f"profile is {profile}; expected 1 <= min <= opt <= max")
    for _, height, width in (profile.min, profile.opt, profile.max):
        if height % divisor or width % divisor:
            raise SchemaError(f"profile has {height}x{width}; expected multiples of {divisor}")


def _check_file(name: str, file: BundleFile) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or name == MANIFEST_FILE:
        raise SchemaError(f"files has {name!r}; expected a plain file name beside the manifest")
    _check_sha256(file.sha256, f"files.{name}.sha256")
    if file.bytes < 1:
        raise SchemaError(f"files.{name}.bytes is {file.bytes}; expected at least 1")
    if (file.precision is None) != (file.role == "plugin"):
        raise SchemaError(
            f"files.{name}.precision is {file.precision}; expected a precision for each file with "
            "computations, None for a plugin"
        )


def _check_sha256(text: str, where: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise SchemaError(f"{where} is {text!r}; expected 64 lower-case hexadecimal digits")
