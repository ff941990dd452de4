"""The files of the page for one bundle: page, onnxruntime-web, model, and what describes it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from engine.backends.model_files import read_onnx
from engine.backends.onnx_graphs import WHOLE
from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import Manifest
from engine.errors import BundleError
from engine.loader import load
from engine.web.reference import reference_pair

_PAGE = Path(__file__).resolve().parent / "page"
DESCRIPTION = "site.json"
_REFERENCE = "check.bin"

# By their paths in the site: where the content is, or the content.
SiteFiles = dict[str, Path | bytes]


def site_files(
    bundle: Path, runtime: Mapping[str, Path], *, trust: Path | None = None, offline: bool = False
) -> tuple[Manifest, SiteFiles]:
    """Return the manifest of a bundle, and the files of its page.

    Args:
        bundle: folder with a network in fp32 or fp16, as one ONNX graph.
        runtime: files of onnxruntime-web; see `runtime_files`.
        trust: see ``engine.load``.
        offline: whether the browser keeps the site for when the host cannot be reached.

    Raises:
        BundleError: as for ``engine.load``, or the bundle has no graph that a browser computes.
        BackendError: as for ``engine.load``: ONNX Runtime computes the flow of `reference_pair`.
        InputError: as for ``engine.load``, of ``trust``.
    """
    # Not refined, as that hides errors of the device, and the page refines on the CPU anyway.
    with load(bundle, backend="onnxruntime", threads=1, refine="none", trust=trust) as flow_engine:
        manifest = flow_engine.manifest
        _check(bundle, manifest)
        size, pair = reference_pair(flow_engine)
    description = {
        "manifest": dataclasses.asdict(manifest),
        "model": WHOLE,
        "check": size,
        "offline": offline,
    }
    site: SiteFiles = {path.name: path for path in sorted(_PAGE.iterdir())}
    site |= {f"runtime/{name}": path for name, path in runtime.items()}
    site |= {WHOLE: read_onnx(bundle / WHOLE, manifest.files[WHOLE]), _REFERENCE: pair}
    site[DESCRIPTION] = json.dumps(description, indent=1).encode()
    return manifest, site


def _check(bundle: Path, manifest: Manifest) -> None:
    """Raise ``BundleError`` for a bundle that a browser does not compute."""
    if fault := _fault(manifest):
        floats = dataclasses.replace(manifest, precision="fp32", gate=None)
        place = bundle.with_name(f"{bundle.name}-fp32")
        command = rebuild_command(place, floats, target="onnxruntime", whole=True)
        raise BundleError(f"{bundle} {fault}. Build one for browsers: `{command}`.")


def _fault(manifest: Manifest) -> str | None:
    """Return why a browser does not compute the bundle."""
    if WHOLE not in manifest.files:
        return f"has no {WHOLE}, but {', '.join(manifest.files)}; expected one graph"
    if manifest.files[WHOLE].precision == "int8":
        return (
            "has the network in int8, which browsers compute no faster than fp32; expected fp32 or "
            "fp16"
        )
    return None
