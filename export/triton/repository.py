"""Write the models of a bundle into a model repository of Triton."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

import engine
from engine.backends.model_files import read_onnx
from engine.backends.onnx_graphs import SPLIT, WHOLE
from engine.backends.tensorrt.package import PLAN_FILES, PLUGIN_LIBRARY
from engine.bundle.manifest import Manifest, read_manifest
from engine.bundle.verify import verify_files
from engine.system.argument_parser import UsageError
from export.graph.dequantise import float_from_int8
from export.graph.passes import with_all_passes
from export.progress import step
from export.staging import check_output, move_into_place, staging
from export.triton.config import Serving, pair_config, stream_config
from export.triton.graphs import Network, pair_graph, stream_graph
from export.triton.verify import Model, verify_pair, verify_stream

CONFIG, VERSION = "config.pbtxt", "1"
PAIR, STREAM = "flow_pair", "flow_stream"
# Why there is no sequence on a backend.
NO_STREAM = {
    "openvino": "Triton's OpenVINO backend keeps no state between requests; only its ONNX Runtime, "
    "TensorRT and PyTorch backends do",
    "tensorrt": "the bundle's plan returns the flow alone, not what the next frame needs",
}
PLAN = PLAN_FILES["tensorrt"]


@dataclass(frozen=True)
class Request:
    """What to write.

    Attributes:
        bundle: the bundle's folder.
        repository: the model repository, which may hold other models.
        models: of `PAIR` and `STREAM`.
        serving: how Triton serves them.
    """

    bundle: Path
    repository: Path
    models: Sequence[str]
    serving: Serving


def write_repository(request: Request) -> None:
    """Write the models, each verified before it is put in its place.

    Raises:
        UsageError: A model cannot be made from the bundle.
        BundleError: The bundle is missing, incomplete, changed or malformed.
        VerificationError: A written model does not compute the bundle's flow.
        OSError: The repository cannot be written.
    """
    manifest = read_manifest(request.bundle)
    if request.serving.backend == "tensorrt":
        _write_plan(request, manifest)
        return
    models = _models(request.bundle, manifest)
    _check_outputs(request)
    if request.serving.backend == "onnxruntime":
        models = {name: float_from_int8(model) for name, model in models.items()}
    with engine.load(request.bundle, backend=request.serving.backend, refine="none") as flow_engine:
        if PAIR in request.models:
            graph = pair_graph(Network(models, manifest))

            def verified_pair(path: Path) -> str:
                batch = 1 if request.serving.max_batch == 1 else 2
                return verify_pair(Model(request.serving.backend, path), flow_engine, batch)

            _write(request, PAIR, graph, pair_config(request.serving), verified_pair)
        if STREAM in request.models:
            network = Network(models, manifest)
            states = network.states()

            def verified_stream(path: Path) -> str:
                return verify_stream(Model(request.serving.backend, path), states, flow_engine)

            config = stream_config(request.serving, states)
            _write(request, STREAM, stream_graph(network), config, verified_stream)


def _check_outputs(request: Request) -> None:
    """Fail before any time is spent."""
    for name in request.models:
        check_output(request.repository / name, (CONFIG, VERSION))


def _models(bundle: Path, manifest: Manifest) -> dict[str, onnx.ModelProto]:
    """Return the ONNX files of a bundle, checked."""
    names = [WHOLE] if WHOLE in manifest.files else [*SPLIT]
    if missing := [name for name in names if name not in manifest.files]:
        raise UsageError(
            f"{bundle} has no {missing[0]}; it contains {', '.join(manifest.files)}. Build it with "
            "--targets onnxruntime"
        )
    if names == [*SPLIT] and manifest.recurrence is not None:
        raise UsageError(
            f"{bundle} is {manifest.network} in two graphs, which also take a flow to start from; "
            "build it without --split"
        )
    verify_files(bundle, manifest, names)
    models = {
        name: onnx.load_from_string(read_onnx(bundle / name, manifest.files[name]))
        for name in names
    }
    if manifest.passes is not None:
        with_all_passes(models[WHOLE])
    return models


def _write(
    request: Request,
    name: str,
    graph: onnx.ModelProto,
    config: str,
    verified: Callable[[Path], str],
) -> None:
    output = request.repository / name
    with step(name) as current, staging(output.resolve()) as folder:
        path = folder / VERSION / request.serving.file
        path.parent.mkdir()
        onnx.save(graph, path)
        (folder / CONFIG).write_text(config)
        current.result = f"{output}, {path.stat().st_size / 1e6:.1f} MB, {verified(path)}"
        move_into_place(folder, output.resolve(), (CONFIG, VERSION))


def _write_plan(request: Request, manifest: Manifest) -> None:
    """Copy the bundle's plan, which is for one GPU and one TensorRT."""
    if PLAN not in manifest.files:
        raise UsageError(
            f"{request.bundle} has no {PLAN}; it contains {', '.join(manifest.files)}. Triton runs "
            "plans of TensorRT, not of TensorRT for RTX; build one on the GPU that runs it, or "
            "take --backend onnxruntime"
        )
    if PLUGIN_LIBRARY in manifest.files:
        raise UsageError(
            f"{request.bundle} has a plan with a plugin, {PLUGIN_LIBRARY}, which Triton does not "
            "load from a repository; build it with another --correlation"
        )
    if request.serving.max_batch > (most := manifest.profile.max[0]):
        raise UsageError(
            f"--max-batch {request.serving.max_batch}: the plan of {request.bundle} takes at most "
            f"{most} pairs. Leave it out, or build a plan for more"
        )
    verify_files(request.bundle, manifest, [PLAN])
    _check_outputs(request)
    output = request.repository / PAIR
    with step(PAIR) as current, staging(output.resolve()) as folder:
        (folder / VERSION).mkdir()
        shutil.copy(request.bundle / PLAN, folder / VERSION / PLAN)
        (folder / CONFIG).write_text(pair_config(request.serving))
        current.result = f"{output}, the bundle's plan: not run here"
        move_into_place(folder, output.resolve(), (CONFIG, VERSION))
