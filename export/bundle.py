"""The steps from weights to a bundle that has proven itself, built aside and moved into place."""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime
import torch
from torch import nn

from engine.errors import EngineError
from engine.manifest import (
    BundleFile,
    Manifest,
    Parity,
    SizeProfile,
    WeightsOrigin,
    sha256_of,
    write_manifest,
)
from export.deployable import Deployable
from export.engine_from_onnx import build_plan
from export.onnx_from_torch import onnx_from_torch
from export.precision import HalfNetwork, store_in_half
from export.progress import step
from export.spec import ExportSpec
from export.verify import pairs_within, reference_flow, verify_backend

# Whatever else may be in a folder is not ours to delete.
_BUNDLE_FILES = {"manifest.json", "model.onnx", "model.plan", "model.rtx"}


class VerificationError(EngineError):
    """The built models do not compute the flow of fp32 PyTorch; ``failures`` says where."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__("\n".join(failures))
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Request:
    """Everything that decides what is built.

    Attributes:
        name: name of the network.
        network: the network in fp32, with its weights.
        normalisation: the module that its weights were trained behind.
        origin: where the weights come from.
        spec: how the network is exported.
        precision: what the graph computes in.
        profile: sizes that TensorRT optimises for, and that every backend is verified within.
        targets: of "onnxruntime", "openvino", "tensorrt".
    """

    name: str
    network: nn.Module
    normalisation: nn.Module
    origin: WeightsOrigin
    spec: ExportSpec
    precision: Literal["fp32", "fp16"]
    profile: SizeProfile
    targets: tuple[str, ...]


def build_bundle(request: Request, output: Path) -> Manifest:
    """Build, verify and put in place.

    Args:
        request: what to build.
        output: the bundle's folder; a bundle that is there already is replaced only when the new
            one has been verified.

    Raises:
        VerificationError: a backend passes a limit of the network's `ExportSpec`.
        EngineError: TensorRT cannot build the plan.
        OSError: the folder cannot be written.
    """
    output = output.resolve()
    with _staging(output) as folder:
        reference = Deployable(request.network, request.normalisation).eval()
        files = _write_models(request, reference, folder)
        manifest = Manifest(
            schema=1,
            network=request.name,
            precision=request.precision,
            layout="NHWC",
            divisor=reference.divisor,
            profile=request.profile,
            files=files,
            parity=(),
            weights=request.origin,
        )
        # Verification goes through `engine.load`, which wants a manifest. Nobody else sees this
        # one: the folder gets its name only after the final manifest is written.
        write_manifest(folder, manifest)
        manifest = replace(manifest, parity=_verify(request, reference, folder))
        write_manifest(folder, manifest)
        _move_into_place(folder, output)
    return manifest


def check_output(output: Path) -> None:
    """Make sure that a bundle can be put there, before any time is spent on it.

    Raises:
        OSError: it cannot, and why.
    """
    output = output.resolve()
    existing = next(place for place in (output, *output.parents) if place.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file; expected a folder")
    if existing == output:
        strangers = {entry.name for entry in output.iterdir()} - _BUNDLE_FILES
        if strangers:
            raise FileExistsError(
                f"{output} holds {min(strangers)!r}, which is no part of a bundle; expected a new "
                "or empty folder, or an earlier bundle"
            )
    try:
        with _staging(output):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write {output}: {error.strerror}. Choose another folder with -o"
        ) from error


def _write_models(request: Request, reference: Deployable, folder: Path) -> dict[str, BundleFile]:
    files: dict[str, BundleFile] = {}
    with step("export") as current:
        deployable = reference
        if request.precision == "fp16":
            half = HalfNetwork(request.network, fp32_islands=request.spec.fp32_islands)
            deployable = Deployable(half, request.normalisation)
        metadata = {
            "network": request.name,
            "precision": request.precision,
            "weights_sha256": request.origin.sha256,
        }
        model = onnx_from_torch(deployable, metadata=metadata)
        current.result = f"{len(model.graph.node)} nodes, opset {model.opset_import[0].version}"
    if "tensorrt" in request.targets:
        files |= _write_plan(request, model, folder)
    with step("store") as current:
        store_in_half(model)
        path = folder / "model.onnx"
        onnx.save(model, path)
        files[path.name] = _bundle_file(path, f"torch {torch.__version__}", None)
        current.result = f"{path.name}, {request.precision}, {files[path.name].bytes / 1e6:.1f} MB"
    return files


def _write_plan(request: Request, model: onnx.ModelProto, folder: Path) -> dict[str, BundleFile]:
    # TensorRT gets the weights as plain constants: behind a Cast (see `store_in_half`) it would
    # treat them as tensors computed at run time.
    source = folder / "plain.onnx"
    onnx.save(model, source)
    with step("tensorrt") as current:
        plan = build_plan(
            source, folder / "model.plan", request.profile, precision=request.precision
        )
        current.result = f"{plan.file}, {plan.tool}, {plan.bytes / 1e6:.1f} MB"
    source.unlink()
    return {plan.file: _bundle_file(folder / plan.file, plan.tool, plan.compute_capability)}


def _verify(request: Request, reference: Deployable, folder: Path) -> tuple[Parity, ...]:
    with step("reference") as current:
        cases = [(pair, reference_flow(reference, pair)) for pair in pairs_within(request.profile)]
        current.result = "fp32 PyTorch on " + ", ".join(pair.name for pair, _ in cases)
    tolerance = request.spec.tolerances[request.precision]
    parities: list[Parity] = []
    failures: list[str] = []
    for backend in _backends_of(request.targets):
        with step("verify") as current:
            parity, found = verify_backend(folder, backend, cases=cases, tolerance=tolerance)
            parities.append(parity)
            failures += found
            current.result = f"{backend}: {_in_words(parity, failed=bool(found))}"
    if failures:
        raise VerificationError(failures)
    return tuple(parities)


def _backends_of(targets: Sequence[str]) -> list[str]:
    """Names of `engine.backends` to verify: ONNX Runtime comes with every install of `engine`."""
    backends = ["onnxruntime"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        backends.append("onnxruntime-cuda")
    return backends + [target for target in targets if target not in backends]


def _in_words(parity: Parity, *, failed: bool) -> str:
    if parity.mean_px is None or parity.max_px is None:
        return f"{'FAILED' if failed else 'not run'}: {parity.reason}"
    change = "" if parity.epe_change is None else f", EPE {parity.epe_change:+.1e} px"
    return (
        f"{'FAILED' if failed else 'ok'}, differs by {parity.mean_px:.1e} px on average, "
        f"{parity.max_px:.1e} px at most{change}"
    )


def _bundle_file(path: Path, tool: str, compute_capability: str | None) -> BundleFile:
    return BundleFile(path.stat().st_size, sha256_of(path), tool, compute_capability)


@contextlib.contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside the output, on the same file system, so that it can be renamed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.parent / f".{output.name}.{os.getpid()}.building"
    for left in output.parent.glob(f".{glob.escape(output.name)}.*.building"):
        # A process that was killed left its folder; in a container the same number comes again.
        if left == folder or not _is_running(left.suffixes[-2][1:]):
            shutil.rmtree(left, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: str) -> bool:
    """Whether a process has this number; where that cannot be asked, yes."""
    if os.name != "posix" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _move_into_place(folder: Path, output: Path) -> None:
    """Rename a finished folder; a bundle that is there already gives way only to it."""
    if not output.exists():
        folder.rename(output)
        return
    old = folder.with_suffix(".old")
    output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old)
