"""From a build request to a verified bundle."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnxruntime

from engine.bundle.manifest import Gate, Manifest, Parity, write_manifest
from engine.bundle.signature import Signer
from engine.errors import EngineError
from export.build_request import Quantisation, Request
from export.graph.onnx_models import Graphs, export_graphs, write_graphs
from export.graph.properties import passes_of, preprocessing_of, recurrence_of
from export.int8.gate import Candidate, admit
from export.int8.quantise import int8_from_fp32
from export.int8.scaling import consumers_in, scaled
from export.memory import release_memory
from export.progress import step
from export.reference import Reference, reference_of
from export.staging import move_into_place, staging
from export.verify.parity import Case, VerificationError, verify_backend
from training.int8.fake_quant import layers_for_int8
from training.int8.ranges import QuantisationParameters, choose_parameters
from training.networks.entry import Int8Recipe


def build_bundle(request: Request, output: Path, signer: Signer | None = None) -> Manifest:
    """Build, verify and put in place.

    Args:
        request: what to build. Its network has no weights afterwards: as soon as they are in the
            graphs, their memory is freed.
        output: the bundle's folder; a bundle that is there already is replaced only when the new
            one has been verified.
        signer: signs the bundle; None: it is not signed.

    Raises:
        VerificationError: a backend exceeds a tolerance of the network.
        GateError: int8 increases the error by more than the request allows.
        EngineError: TensorRT cannot build the plan.
        OSError: the folder cannot be written.
    """
    output = output.resolve()
    with staging(output) as folder:
        manifest = build_into(folder, request)
        if signer is not None:
            signer.sign(folder)
        move_into_place(folder, output)
    return manifest


def build_into(folder: Path, request: Request) -> Manifest:
    """Build and verify in an empty folder that nobody else looks at; see `build_bundle`."""
    reference = reference_of(request)
    if request.quantisation is None:
        # The graphs are as large as the weights: they are freed before the verification.
        manifest = _write(request, _graphs(request), folder)
    else:
        manifest = _write_int8(request, request.quantisation, reference, folder)
    manifest = replace(
        manifest,
        parameters=reference.parameters,
        operations=reference.operations,
        preprocessing=preprocessing_of(request.network, request.normalisation),
        parity=_verify(request, reference.cases, folder),
    )
    write_manifest(folder, manifest)
    return manifest


def _graphs(request: Request) -> Graphs:
    """Export the network and free its weights."""
    graphs = export_graphs(request)
    request.network.to("meta")
    release_memory()
    return graphs


def _write(request: Request, graphs: Graphs, folder: Path) -> Manifest:
    """Write a bundle without measurements.

    Gate and verification measure through `engine.load`, which needs a manifest. This one is not
    visible to others: the folder is renamed into place after the final manifest is written.
    """
    manifest = Manifest(
        network=request.name,
        precision=request.precision,
        layout="NHWC",
        divisor=request.network.divisor,
        smallest=request.network.smallest,
        recurrence=recurrence_of(request),
        passes=passes_of(request.network),
        refine=request.refine,
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
    reference: Reference,
    folder: Path,
) -> Manifest:
    """Write the bundle with as many layers in int8 as its gate admits."""
    graphs = _graphs(request)
    recipe = request.entry.int8
    layers = layers_for_int8(request.network, recipe)
    with step("ranges") as current:
        parameters = _parameters(recipe, reference, graphs)
        graphs = graphs.map(partial(scaled, factors=parameters.factors))
        current.result = f"{len(layers)} layers, {len(parameters.factors)} of them scaled"
    release_memory()

    def build(in_float: Sequence[str]) -> Candidate:
        quantise = partial(
            int8_from_fp32,
            ranges=parameters.ranges,
            in_float={*in_float, *recipe.float_layers},
            residual=recipe.residual_layers,
        )
        manifest = _write(request, graphs.map(quantise), folder)
        release_memory()
        return Candidate(tuple(in_float), folder, manifest)

    candidate = admit(
        build,
        layers,
        reference.gate,
        limit=quantisation.max_epe_increase,
        backends=verified_backends(request),
    )
    gate = Gate(
        max_epe_increase=quantisation.max_epe_increase,
        calibration=quantisation.calibration_name,
        in_float=candidate.in_float,
        results=candidate.results,
    )
    return replace(candidate.manifest, gate=gate)


def _parameters(recipe: Int8Recipe, reference: Reference, graphs: Graphs) -> QuantisationParameters:
    try:
        return choose_parameters(consumers_in(graphs.models), reference.statistics, recipe)
    except ValueError as error:
        raise EngineError(f"int8 cannot be calibrated: {error}") from error


def _verify(request: Request, cases: Sequence[Case], folder: Path) -> tuple[Parity, ...]:
    tolerance = request.entry.tolerances[request.precision]
    parities: list[Parity] = []
    failures: list[str] = []
    for backend in verified_backends(request):
        release_memory()
        with step("verify") as current:
            parity, found = verify_backend(folder, backend, cases=cases, tolerance=tolerance)
            parities.append(parity)
            failures += found
            current.result = f"{backend}: {_in_words(parity, failed=bool(found))}"
    if failures:
        raise VerificationError(failures)
    return tuple(parities)


def verified_backends(request: Request) -> list[str]:
    """Return the names of the backends to verify, where they can run.

    ONNX Runtime is always among them: every install of `engine` has it.
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
