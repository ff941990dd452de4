"""Commands that error messages suggest for a damaged or incomplete bundle."""

import shlex
from pathlib import Path

from engine.bundle.schema import Manifest

_PACKAGE = Path(__file__).resolve().parent


def rebuild_command(
    bundle: Path, manifest: Manifest, *, target: str | None = None, whole: bool = False
) -> str:
    """Return the shell command that builds the bundle again.

    Args:
        bundle: folder of the bundle.
        manifest: its manifest.
        target: backend that has to find its file in the bundle; None: all backends. For
            ``"tensorrt"`` the command rebuilds the plan alone if the bundle holds the ONNX graph
            that the plan was built from.
        whole: whether the bundle has to hold the network as one graph; else it stays split if it
            is. The plan alone is never rebuilt then.

    The manifest has the hash of the weights, not their path: ``--weights FILE`` is left for the
    reader to fill in, except for the bundle inside this package.
    """
    in_package = _is_in_package(bundle)
    has_plugin = bool(manifest.names("plugin"))
    rebuildable = manifest.names("network") and manifest.names("plan") and not has_plugin
    if target == "tensorrt" and not whole and not in_package and rebuildable:
        return f"python -m export.rebuild {shlex.quote(str(bundle))}"
    command = f"python -m export.build_engine --network {shlex.quote(manifest.network)}"
    command += "" if in_package else " --weights FILE"
    command += f" --precision {manifest.precision}"
    if manifest.gate is not None:
        command += f" --max-epe-increase {100 * manifest.gate.max_epe_increase:g}%"
    command += f" --targets {target}" if target else ""
    command += " --split" if manifest.names("features") and not whole else ""
    command += " --correlation library" if has_plugin else ""
    # The networks that are refined by default are those with passes.
    refine = manifest.refine or ("none" if manifest.passes else None)
    command += f" --refine {refine}" if refine else ""
    command += f" --iterations {manifest.iterations}" if manifest.iterations else ""
    command += f" --lookup {manifest.recurrence.lookup}" if manifest.recurrence else ""
    return f"{command}{_sizes(manifest)} -o {'DIR' if in_package else shlex.quote(str(bundle))}"


def _sizes(manifest: Manifest) -> str:
    profile = manifest.profile
    options = {"--min-size": profile.min, "--size": profile.opt, "--max-size": profile.max}
    sizes = "".join(f" {name} {height}x{width}" for name, (_, height, width) in options.items())
    return f"{sizes} --max-batch {profile.max[0]}"


def repair_advice(bundle: Path, rebuild: str) -> str:
    """Return ``rebuild``; for a bundle inside this package, the advice to reinstall it."""
    return "It is part of flownet-engine: reinstall that." if _is_in_package(bundle) else rebuild


def _is_in_package(bundle: Path) -> bool:
    return bundle.resolve().is_relative_to(_PACKAGE)
