"""Rebuild the TensorRT plan of a bundle on the device that runs it.

python -m export.rebuild DIR

Needs TensorRT and the extra `rebuild`, but neither PyTorch nor the weights.
"""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import engine
from engine.backends.model_files import read_onnx
from engine.backends.onnx_graphs import WHOLE
from engine.backends.tensorrt.package import PLAN_FILES, PLUGIN_LIBRARY, load_tensorrt
from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import (
    BundleFile,
    Manifest,
    Parity,
    read_manifest,
    write_manifest,
)
from engine.bundle.signature import Signer
from engine.bundle.verify import verify_files
from engine.errors import BackendNotInstalledError, BundleError
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.command import run
from export.outcome import exit_code, signer_of
from export.progress import step
from export.staging import check_output, move_into_place, staging
from export.tensorrt.plan_from_onnx import BuiltPlan, build_plan
from export.verify.noise import noise_within
from export.verify.parity import VerificationError, verify_backend
from training.networks.registry import NETWORKS

_BACKEND = "tensorrt"
_MODEL_PLAN = PLAN_FILES[_BACKEND]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (the rebuild failed) or 2 (the request cannot be met)."""
    parser = RaisingParser(
        prog="python -m export.rebuild",
        description="Rebuild the TensorRT plan of a bundle from its ONNX model, for the TensorRT "
        "and the GPU of this machine. Needs neither PyTorch nor the weights.",
    )
    parser.add_argument("bundle", type=Path, metavar="DIR", help="the bundle's folder")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="sign it with a private key")

    def rebuild() -> None:
        options = parser.parse_args(arguments)
        bundle: Path = options.bundle
        plan = rebuild_plan(bundle, signer_of(options.sign))
        print(f"{'plan':<10} {bundle / plan.file}, rebuilt")
        print(f"next: python -m bench.compare --bundle {shlex.quote(str(bundle))}")

    return exit_code(rebuild, "the plan was not rebuilt")


def rebuild_plan(bundle: Path, signer: Signer | None = None) -> BuiltPlan:
    """Rebuild a bundle's plan from its ONNX, for the TensorRT and the GPU of this machine.

    A new bundle is written beside the old one, verified, and put in its place in one step. A valid
    plan of the other TensorRT package is kept. A signature is not: its owner signs again.

    Args:
        bundle: the bundle's folder.
        signer: signs the bundle; None: it is not signed.

    Raises:
        UsageError: the plan cannot be built from the bundle's files, or a package is missing.
        BundleError: there is no bundle, or a file other than the plan is missing or changed.
        VerificationError: the new plan does not compute the flow of the bundle's ONNX.
        EngineError: TensorRT cannot build the plan here.
        OSError: the bundle cannot be written.
    """
    manifest = read_manifest(bundle)
    _check_graph(bundle, manifest)
    plans = manifest.files.keys() & {*PLAN_FILES.values()}
    verify_files(bundle, manifest, manifest.files.keys() - plans)
    kept = [
        name for name in manifest.files if name not in plans or _is_whole(bundle, manifest, name)
    ]
    _check_writable(bundle)
    output = bundle.resolve()
    with staging(output) as staged:
        shutil.copy(bundle / WHOLE, staged)
        with step("tensorrt") as current:
            plan = _build(staged, manifest)
            current.result = f"{plan.file}, {plan.tool}, {plan.bytes / 1e6:.1f} MB"
        file = BundleFile.of(
            staged / plan.file,
            role="plan",
            precision=manifest.precision,
            tool=plan.tool,
            compute_capability=plan.compute_capability,
        )
        with step("compare") as current:
            write_manifest(
                staged, replace(manifest, files={WHOLE: manifest.files[WHOLE], plan.file: file})
            )
            parity = _compare(staged, manifest, plan)
            current.result = str(parity.reason)
        for name in set(kept) - {WHOLE, plan.file}:
            shutil.copy(bundle / name, staged)
        files = {**{name: manifest.files[name] for name in kept}, plan.file: file}
        write_manifest(staged, _updated(manifest, files, parity))
        if signer is not None:
            signer.sign(staged)
        move_into_place(staged, output)
    return plan


def _check_graph(bundle: Path, manifest: Manifest) -> None:
    """Check that there is a plan, and that it was built from the bundle's ONNX."""
    plans, profile = manifest.files.keys() & {*PLAN_FILES.values()}, manifest.profile
    may_have_plugin = _MODEL_PLAN in plans and profile.min == profile.max
    if not plans:
        obstacle = "it has no TensorRT plan. Add one"
    elif manifest.network not in NETWORKS:
        obstacle = (
            f"its network {manifest.network!r} is none of {', '.join(NETWORKS)}. Build it again"
        )
    elif WHOLE not in manifest.files:
        obstacle = f"its plan is of one graph, {WHOLE}, and it holds two. Build it again"
    elif PLUGIN_LIBRARY in manifest.files:
        obstacle = f"its plan's correlation is a plugin, which {WHOLE} has not. Build it again"
    elif NETWORKS[manifest.network].has_correlation and may_have_plugin:
        obstacle = (
            f"its plan is for one size, so that its correlation may be a plugin, which {WHOLE} has "
            "not. Build it again"
        )
    else:
        return
    command = rebuild_command(bundle, manifest, target=_BACKEND, whole=WHOLE in manifest.files)
    raise UsageError(f"cannot rebuild the plan of {bundle}: {obstacle}, with PyTorch: `{command}`")


def _check_writable(bundle: Path) -> None:
    """Fail before any time is spent."""
    try:
        check_output(bundle)
    except OSError as error:
        raise OSError(
            f"{error}. Or copy the bundle to a folder that can be written, and rebuild the copy"
        ) from error


def _build(staged: Path, manifest: Manifest) -> BuiltPlan:
    # Prefer a package that the bundle has a plan for.
    packages = sorted(PLAN_FILES, key=lambda name: PLAN_FILES[name] not in manifest.files)
    try:
        load_tensorrt(packages)
    except BackendNotInstalledError as error:
        raise UsageError(str(error)) from error
    try:
        import onnx

        from export.graph.fp16_storage import restore_from_half
        from export.graph.passes import with_all_passes
        from export.graph.recurrent import unrolled
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a rebuild needs the package {error.name}: pip install 'flownet-engine[rebuild]'"
        ) from error
    model = onnx.load_from_string(read_onnx(staged / WHOLE, manifest.files[WHOLE]))
    with_all_passes(model)  # first: a pass may have the Casts of its weights in its branch
    restore_from_half(model)
    model = unrolled(model)
    source = staged / "plain.onnx"
    onnx.save(model, source)
    plan = build_plan(
        source,
        staged / _MODEL_PLAN,
        manifest.profile,
        precision=manifest.precision,
        packages=packages,
    )
    source.unlink()
    return plan


def _compare(staged: Path, manifest: Manifest, plan: BuiltPlan) -> Parity:
    """Compare the plan with ONNX Runtime; the parity records that PyTorch was not available."""
    pairs = noise_within(manifest.profile)
    with engine.load(staged, backend="onnxruntime", refine="none") as flow_engine:
        cases = [(pair, flow_engine.infer(pair.image1, pair.image2)) for pair in pairs]
    parity, failures = verify_backend(
        staged,
        _BACKEND,
        cases=cases,
        tolerance=NETWORKS[manifest.network].tolerances[manifest.precision],
        reference=f"{WHOLE} in onnxruntime",
    )
    if failures:
        raise VerificationError(failures)
    found = f"nor could it run here: {parity.reason}"
    if parity.status == "ok":
        found = (
            f"it differs from {WHOLE} in onnxruntime by {parity.mean_px:.1e} px on average, "
            f"{parity.max_px:.1e} px at most"
        )
    reason = f"rebuilt by {plan.tool}, without PyTorch to compare with; {found}"
    return Parity(_BACKEND, "not run", reason, None, None, None, parity.pairs)


def _is_whole(bundle: Path, manifest: Manifest, name: str) -> bool:
    try:
        verify_files(bundle, manifest, [name])
    except BundleError:
        return False
    return True


def _updated(manifest: Manifest, files: dict[str, BundleFile], parity: Parity) -> Manifest:
    """Return the manifest with these files, and without measurements of the old plan."""
    gate = manifest.gate and replace(
        manifest.gate,
        results=tuple(each for each in manifest.gate.results if each.backend != _BACKEND),
    )
    others = tuple(each for each in manifest.parity if each.backend != _BACKEND)
    return replace(manifest, files=files, parity=(*others, parity), gate=gate)


if __name__ == "__main__":
    run(main)
