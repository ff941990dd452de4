"""The steps from weights to a bundle that has proven itself."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnxruntime

from engine.bundle.manifest import Gate, Manifest, Parity, write_manifest
from engine.errors import EngineError
from export.build_request import Quantisation, Request
from export.graph.deployable import Deployable, reference_flow
from export.graph.onnx_models import Graphs, export_graphs, write_graphs
from export.graph.properties import operation_count, parameter_count, preprocessing_of
from export.int8.calibrate import calibrate
from export.int8.gate import admit
from export.int8.quantise import int8_from_fp32
from export.int8.scaling import equalised, readers_in
from export.progress import step
from export.staging import move_into_place, staging
from export.verify.cases import pairs_within
from export.verify.parity import VerificationError, verify_backend
from training.int8.fake_quant import layers_for_int8
from training.int8.ranges import Equalisation, equalisation


def build_bundle(request: Request, output: Path) -> Manifest:
    """Build, verify and put in place.

    Args:
        request: what to build.
        output: the bundle's folder; a bundle that is there already is replaced only when the new
            one has been verified.

    Raises:
        VerificationError: a backend passes a limit of the network's `ExportSpec`.
        GateError: int8 raises the error by more than the request allows.
        EngineError: TensorRT cannot build the plan.
        OSError: the folder cannot be written.
    """
    output = output.resolve()
    with staging(output) as folder:
        reference = Deployable(request.network, request.normalisation).eval()
        graphs = export_graphs(request)
        if request.quantisation is None:
            manifest = _write(request, graphs, folder)
        else:
            manifest = _write_int8(request, request.quantisation, reference, graphs, folder)
        manifest = replace(
            manifest,
            parameters=parameter_count(request.network),
            operations=operation_count(reference, request.profile),
            preprocessing=preprocessing_of(request.network, request.normalisation),
            parity=_verify(request, reference, folder),
        )
        write_manifest(folder, manifest)
        move_into_place(folder, output)
    return manifest


def _write(request: Request, graphs: Graphs, folder: Path) -> Manifest:
    """Write a bundle that nothing is known of yet.

    What follows measures through `engine.load`, which wants a manifest. Nobody else sees this one:
    the folder gets its name only after the final manifest is written.
    """
    manifest = Manifest(
        network=request.name,
        precision=request.precision,
        layout="NHWC",
        divisor=request.network.divisor,
        profile=request.profile,
        files=write_graphs(request, graphs, folder),
        parity=(),
        gate=None,
        weights=request.origin,
    )
    write_manifest(folder, manifest)
    return manifest


def _write_int8(
    request: Request,
    quantisation: Quantisation,
    reference: Deployable,
    graphs: Graphs,
    folder: Path,
) -> Manifest:
    """Write the bundle with as many layers in int8 as its gate admits."""
    layers = layers_for_int8(request.network)
    with step("calibrate") as current:
        chosen = _equalisation(request, quantisation, graphs)
        graphs = graphs.map(partial(equalised, factors=chosen.factors))
        current.result = f"{len(layers)} layers, ranges from {quantisation.calibration_name}"
    with step("reference") as current:
        sets = {
            name: [(pair, reference_flow(reference, pair)) for pair in pairs]
            for name, pairs in quantisation.gate.items()
        }
        current.result = f"fp32 PyTorch on the gate's pairs: {', '.join(sets)}"

    manifest: Manifest

    def build(in_float: Sequence[str]) -> Path:
        nonlocal manifest
        kept = {*in_float, *request.network.float_layers}
        fine = request.network.fine_layers
        quantise = partial(int8_from_fp32, ranges=chosen.ranges, in_float=kept, fine=fine)
        manifest = _write(request, graphs.map(quantise), folder)
        return folder

    in_float, results = admit(
        build,
        layers,
        sets,
        limit=quantisation.max_epe_increase,
        backends=verified_backends(request),
    )
    gate = Gate(
        max_epe_increase=quantisation.max_epe_increase,
        calibration=quantisation.calibration_name,
        in_float=tuple(in_float),
        results=tuple(results),
    )
    return replace(manifest, gate=gate)


def _equalisation(request: Request, quantisation: Quantisation, graphs: Graphs) -> Equalisation:
    """Return what training found, or find it on pairs."""
    if quantisation.calibration is None:
        assert request.equalisation is not None  # `export.resolve` makes sure
        return request.equalisation
    network = request.network
    try:
        return equalisation(
            readers_in(graphs.models),
            calibrate(graphs.models, quantisation.calibration),
            layers=network.equalised_layers,
            joined=network.joined_layers,
            wide=network.wide_layers,
        )
    except ValueError as error:
        raise EngineError(f"int8 cannot be calibrated: {error}") from error


def _verify(request: Request, reference: Deployable, folder: Path) -> tuple[Parity, ...]:
    with step("reference") as current:
        cases = [(pair, reference_flow(reference, pair)) for pair in pairs_within(request.profile)]
        current.result = "fp32 PyTorch on " + ", ".join(pair.name for pair, _ in cases)
    tolerance = request.spec.tolerances[request.precision]
    parities: list[Parity] = []
    failures: list[str] = []
    for backend in verified_backends(request):
        with step("verify") as current:
            parity, found = verify_backend(folder, backend, cases=cases, tolerance=tolerance)
            parities.append(parity)
            failures += found
            current.result = f"{backend}: {_in_words(parity, failed=bool(found))}"
    if failures:
        raise VerificationError(failures)
    return tuple(parities)


def verified_backends(request: Request) -> list[str]:
    """Names of `engine.backends` that a build is to verify, where they can run.

    ONNX Runtime is always one: it comes with every install of `engine`.
    """
    backends = ["onnxruntime"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and not request.split:
        backends.append("onnxruntime-cuda")
    return backends + [target for target in request.targets if target not in backends]


def _in_words(parity: Parity, *, failed: bool) -> str:
    if parity.mean_px is None or parity.max_px is None:
        return f"{'FAILED' if failed else 'not run'}: {parity.reason}"
    change = "" if parity.epe_change is None else f", EPE {parity.epe_change:+.1e} px"
    return (
        f"{'FAILED' if failed else 'ok'}, differs by {parity.mean_px:.1e} px on average, "
        f"{parity.max_px:.1e} px at most{change}"
    )
