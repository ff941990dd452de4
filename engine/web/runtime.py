"""Where onnxruntime-web is: npm installs it, nothing downloads it at run time."""

import json
import shlex
from pathlib import Path

from engine.errors import InputError

PACKAGE = "onnxruntime-web"
_HERE = Path(__file__).resolve().parent
INSTALLED = _HERE / "node_modules" / PACKAGE / "dist"
# Two builds, of which a browser loads one: for WebGPU, and for WebAssembly alone. The first one's
# code can be suspended, which makes its convolutions on the CPU 2.5 to 3 times slower.
RUNTIME_FILES = (
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
)


def version() -> str:
    """Return the version of onnxruntime-web that the page is tested with."""
    package = json.loads((_HERE / "package.json").read_text())
    return str(package["dependencies"][PACKAGE])


def runtime_files(folder: Path | None = None) -> dict[str, Path]:
    """Return the files that the page loads, by name.

    Args:
        folder: ``dist/`` of onnxruntime-web; None: the one that `npm ci` installs.

    Raises:
        InputError: A file is missing.
    """
    place = INSTALLED if folder is None else folder
    missing = [name for name in RUNTIME_FILES if not (place / name).is_file()]
    if missing:
        found = f"has no {missing[0]}" if place.is_dir() else "is not a folder"
        advice = f"Install it once: `npm ci --prefix {shlex.quote(str(_HERE))}`"
        more = (
            ", or give a copy by --runtime DIR" if folder is None else "; that is found by itself"
        )
        raise InputError(
            f"{place} {found}; expected dist/ of {PACKAGE} {version()}. {advice}{more}."
        )
    return {name: place / name for name in RUNTIME_FILES}
