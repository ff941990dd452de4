"""From a request to the model files of a bundle."""

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn

from engine.backends.onnx_graphs import FEATURES, MATCH, SPLIT, WHOLE
from engine.bundle.manifest import BundleFile, Role, SizeProfile
from export.build_request import Request
from export.graph.deployable import Deployable
from export.graph.flow_heads import split_heads
from export.graph.fp16_storage import store_in_half
from export.graph.onnx_from_torch import onnx_from_torch, two_graphs_from_torch
from export.graph.passes import make_passes_optional
from export.graph.passes_from_torch import passes_from_torch
from export.graph.precision import HalfNetwork
from export.graph.properties import passes_of
from export.graph.recurrent import graphs_of, unrolled
from export.graph.recurrent_from_torch import recurrent_from_torch
from export.graph.torch_export import OPSET
from export.progress import step
from export.tensorrt import correlation_form as correlation
from export.tensorrt.plan_from_onnx import build_plan
from kernels import onnx_ops
from training.networks.layers import RecurrentNetwork
from training.networks.upsampling import upsample_matmul

_ROLES: dict[str, Role] = {WHOLE: "network", FEATURES: "features", MATCH: "match"}


@dataclass(frozen=True)
class Graphs:
    """A network as ONNX.

    Attributes:
        models: what ONNX Runtime and OpenVINO get, by file name: whole, or in two graphs.
        for_tensorrt: what TensorRT builds its plan from, None where it is not a target.
    """

    models: Mapping[str, onnx.ModelProto]
    for_tensorrt: onnx.ModelProto | None

    def map(self, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> "Graphs":
        """Change each graph, and one that serves both only once."""
        models = {name: change(model) for name, model in self.models.items()}
        shared = [name for name, model in self.models.items() if model is self.for_tensorrt]
        if shared:
            return Graphs(models, models[shared[0]])
        return Graphs(models, self.for_tensorrt and change(self.for_tensorrt))


def export_graphs(request: Request) -> Graphs:
    """Export the network; for int8 in fp32, to be quantised."""
    if isinstance(request.network, RecurrentNetwork):
        return _export_recurrent(request, request.network)
    network: nn.Module = request.network
    if request.precision == "fp16":
        network = HalfNetwork(network, fp32_islands=request.entry.fp32_islands)
    metadata = _metadata(request)
    models: dict[str, onnx.ModelProto] = {}
    with step("export") as current:
        if request.split:
            graphs = two_graphs_from_torch(network, request.normalisation, metadata=metadata)
            models |= zip(SPLIT, graphs, strict=True)
        elif (passes := passes_of(request.network) or 1) > 1:
            models[WHOLE] = passes_from_torch(
                network, request.normalisation, passes, metadata=metadata
            )
        else:
            deployable = Deployable(network, request.normalisation, upsample_matmul)
            models[WHOLE] = onnx_from_torch(deployable, metadata=metadata)
        sizes = " + ".join(str(len(model.graph.node)) for model in models.values())
        current.result = f"{sizes} nodes, opset {OPSET}"
    if "tensorrt" not in request.targets:
        return Graphs(models, None)
    if not request.split and request.correlation == "onnx":
        return Graphs(models, models[WHOLE])
    return Graphs(models, _model_for_tensorrt(request, network, metadata))


def _metadata(request: Request) -> dict[str, str]:
    return {
        "network": request.name,
        "precision": request.precision,
        "weights_sha256": request.origin.sha256,
    }


def _export_recurrent(request: Request, network: RecurrentNetwork) -> Graphs:
    """Export its updates as a Loop; for TensorRT in a row, so that layers fuse across updates."""
    recurrence, lookup = request.entry.recurrence, request.lookup
    assert recurrence is not None
    assert lookup is not None
    if request.precision == "fp16":
        network = copy.deepcopy(network).half()

    def exported(split: bool) -> tuple[onnx.ModelProto, ...]:
        return recurrent_from_torch(
            network,
            request.normalisation,
            recurrence,
            lookup=lookup,
            split=split,
            metadata=_metadata(request),
        )

    with step("export") as current:
        names = SPLIT if request.split else (WHOLE,)
        models = dict(zip(names, exported(request.split), strict=True))
        for_tensorrt = None
        if "tensorrt" in request.targets:
            whole = exported(False)[0] if request.split else models[WHOLE]
            for_tensorrt = unrolled(whole)
        sizes = " + ".join(
            str(len(graph.node)) for model in models.values() for graph in graphs_of(model)
        )
        current.result = f"{sizes} nodes, {network.iterations} updates, {lookup}, opset {OPSET}"
    return Graphs(models, for_tensorrt)


def write_graphs(request: Request, graphs: Graphs, folder: Path) -> dict[str, BundleFile]:
    """Write the model files into a folder, over those of an earlier attempt."""
    files: dict[str, BundleFile] = {}
    if graphs.for_tensorrt is not None:
        files |= _write_plan(request, graphs.for_tensorrt, folder)
    with step("store") as current:
        for name, model in graphs.models.items():
            stored = onnx.ModelProto()
            stored.CopyFrom(model)
            split_heads(stored)
            store_in_half(stored)
            if (passes := passes_of(request.network) or 1) > 1:
                make_passes_optional(stored, passes)
            onnx.save(stored, folder / name)
            files[name] = BundleFile.of(
                folder / name,
                role=_ROLES[name],
                precision=request.precision,
                tool=f"torch {torch.__version__}",
            )
        sizes = [f"{name}, {files[name].bytes / 1e6:.1f} MB" for name in graphs.models]
        current.result = f"{request.precision}: {'; '.join(sizes)}"
    return files


def _model_for_tensorrt(
    request: Request, network: nn.Module, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """The whole network, its correlation as the plan is to have it."""
    with step("export") as current:
        model = onnx_from_torch(
            Deployable(network, request.normalisation, upsample_matmul),
            metadata=metadata,
            translation_table=None if request.correlation == "onnx" else onnx_ops.plugin_table(),
        )
        if request.correlation == "plugin":
            _fix_sizes(model, request.profile)
        current.result = f"{len(model.graph.node)} nodes for TensorRT"
    return model


def _fix_sizes(model: onnx.ModelProto, profile: SizeProfile) -> None:
    """Give a graph's images the profile's only size: an ahead-of-time plugin wants constants."""
    for image in model.graph.input:
        for axis, size in zip(image.type.tensor_type.shape.dim, profile.opt, strict=False):
            axis.dim_value = size


def _write_plan(request: Request, model: onnx.ModelProto, folder: Path) -> dict[str, BundleFile]:
    # Before `store_in_half`, which TensorRT is not to see: `restore_from_half` says why.
    source = folder / "plain.onnx"
    onnx.save(model, source)
    with step("tensorrt") as current:
        plan = build_plan(
            source,
            folder / "model.plan",
            request.profile,
            precision=request.precision,
            correlation=request.correlation,
        )
        form = f", correlation: {request.correlation}" if request.entry.has_correlation else ""
        current.result = f"{plan.file}, {plan.tool}, {plan.bytes / 1e6:.1f} MB{form}"
    source.unlink()
    files = {
        plan.file: BundleFile.of(
            folder / plan.file,
            role="plan",
            precision=request.precision,
            tool=plan.tool,
            compute_capability=plan.compute_capability,
        )
    }
    if request.correlation == "library":
        library = Path(shutil.copy(correlation.plugin_library(), folder))
        files[library.name] = BundleFile.of(library, role="plugin", precision=None, tool=plan.tool)
    return files
