"""Rules for the values of a manifest, besides their types."""

import re

from engine.bundle.schema import MANIFEST_FILE, BundleFile, Manifest, SizeProfile
from engine.bundle.strict_json import SchemaError

# Images are padded to the divisor, and up to the smallest size; networks have at most 128.
_LARGEST_PADDING = 1024


def check(manifest: Manifest) -> None:
    """Raise ``SchemaError`` for values of the right type that contradict each other or the format.

    ``engine.bundle.strict_json.parsed`` has checked the types.
    """
    if not re.fullmatch(r"\w[\w.-]{0,99}", manifest.network, re.ASCII):
        raise SchemaError(f"network is {manifest.network!r}; expected a name of ASCII letters")
    for name, value in (("divisor", manifest.divisor), ("smallest", manifest.smallest)):
        if not 1 <= value <= _LARGEST_PADDING:
            raise SchemaError(f"{name} is {value}; expected 1 to {_LARGEST_PADDING}")
    if manifest.gate is not None and manifest.precision != "int8":
        raise SchemaError(f"gate belongs to int8; precision is {manifest.precision!r}")
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
    precisions = {file.precision for file in manifest.files.values()}
    if manifest.precision not in precisions and precisions != {None}:
        raise SchemaError(f"precision is {manifest.precision!r}; no file of the bundle has it")
    _check_sha256(manifest.weights.sha256, "weights.sha256")


def _check_profile(profile: SizeProfile, divisor: int) -> None:
    for low, typical, high in zip(profile.min, profile.opt, profile.max, strict=True):
        if not 1 <= low <= typical <= high:
            raise SchemaError(f"profile is {profile}; expected 1 <= min <= opt <= max")
    for _, height, width in (profile.min, profile.opt, profile.max):
        if height % divisor or width % divisor:
            raise SchemaError(f"profile has {height}x{width}; expected multiples of {divisor}")


def _check_file(name: str, file: BundleFile) -> None:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII) or name == MANIFEST_FILE:
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
