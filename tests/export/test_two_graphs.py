"""FlowNetC: exported whole and in two graphs, and built into bundles of both kinds."""

import copy
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import engine
from engine.bundle.manifest import read_manifest
from export import build_engine
from export.graph import onnx_models as graphs
from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import two_graphs_from_torch
from export.graph.precision import HalfNetwork
from tests.export.runtimes import RUNTIMES, Runner, random_images
from tests.export.tiny import build, save_tiny, tiny_entry
from training.networks import NETWORKS
from training.networks.flownetc import FlowNetC
from training.normalise import FixedMean

Graphs = tuple[onnx.ModelProto, onnx.ModelProto]


@pytest.fixture(scope="module")
def halves(flownetc: FlowNetC) -> Graphs:
    half = HalfNetwork(flownetc, fp32_islands=NETWORKS["flownetc"].fp32_islands)
    return two_graphs_from_torch(half, FixedMean(), metadata={"network": "tiny"})


def pytorch_flow(network: FlowNetC, *images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return Deployable(network, FixedMean())(*map(torch.from_numpy, images)).numpy()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 128, 192)])
def test_graph_equals_pytorch_at_any_size(
    runtime: Runner,
    flownetc_exported: onnx.ModelProto,
    flownetc: FlowNetC,
    shape: tuple[int, int, int],
) -> None:
    images = random_images(*shape)
    expected = pytorch_flow(flownetc, *images)
    swapped = pytorch_flow(flownetc, *images[::-1])
    assert np.abs(expected - swapped).max() > 0.1  # otherwise the second image would not matter
    np.testing.assert_allclose(runtime(flownetc_exported)(*images), expected, atol=1e-3)


def test_interface_of_two_graphs(halves: Graphs) -> None:
    described = [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        )
        for model in halves
        for value in (*model.graph.input, *model.graph.output)
    ]
    skip = ["batch", "height / 4", "width / 4", 8]
    features = ["batch", "height / 8", "width / 8", 16]
    assert described == [
        ("image", TensorProto.UINT8, ["batch", "height", "width", 3]),
        ("skip", TensorProto.FLOAT16, skip),
        ("features", TensorProto.FLOAT16, features),
        ("skip", TensorProto.FLOAT16, skip),
        ("features1", TensorProto.FLOAT16, features),
        ("features2", TensorProto.FLOAT16, features),
        ("flow", TensorProto.FLOAT, ["batch", "height", "width", 2]),
    ]


@pytest.fixture(scope="module", autouse=True)
def _tiny_is_a_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", tiny_entry("flownetc"))
        yield


@pytest.fixture(scope="module")
def split_bundle(
    flownetc: FlowNetC, flownetc_split: Graphs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("split")
    weights = save_tiny(flownetc, folder / "tiny.safetensors")
    options = ("--split", "--targets", "onnxruntime,openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "two_graphs_from_torch", lambda *_args, **_kwargs: flownetc_split)
        assert build(weights, folder / "bundle", *options) == 0
    return folder / "bundle"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_streams_of_a_split_bundle_equal_pytorch(
    split_bundle: Path, flownetc: FlowNetC, backend: str
) -> None:
    assert set(read_manifest(split_bundle).files) == {"features.onnx", "match.onnx"}
    frames = np.concatenate(random_images(2, 128, 192))
    with engine.load(split_bundle, backend=backend, threads=1) as flow_engine:
        flows = list(flow_engine.stream(frames))
        np.testing.assert_array_equal(flow_engine.infer(frames[1], frames[2]), flows[1])
    for index, flow in enumerate(flows):
        expected = pytorch_flow(flownetc, frames[index : index + 1], frames[index + 1 : index + 2])
        np.testing.assert_allclose(flow, expected[0], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--network", "flownets_slim", "--split"],
            "--split: flownets_slim processes both images together .*; leave it out",
        ),
        (
            ["--network", "flownets_slim", "--correlation", "onnx"],
            "--correlation onnx: flownets_slim has none; leave it out",
        ),
        (
            ["--correlation", "onnx", "--targets", "openvino"],
            "--correlation onnx: no TensorRT plan is built; leave it out",
        ),
        (
            ["--correlation", "pluign"],
            r"argument --correlation: invalid choice: 'pluign' \(.*'plugin'.*\)",
        ),
    ],
)
def test_requests_that_cannot_be_met(
    options: list[str],
    message: str,
    flownetc: FlowNetC,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = save_tiny(flownetc, tmp_path / "tiny.safetensors")
    if "--network" in options:
        status = build_engine.main([*options, "-o", str(tmp_path / "bundle")])
    else:
        status = build(weights, tmp_path / "bundle", *options)
    assert status == 2
    assert re.fullmatch(f"error: {message}\n", capsys.readouterr().err)


def test_weights_with_the_pairs_mean_are_not_split(
    flownetc: FlowNetC, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_tiny(flownetc, tmp_path / "tiny.safetensors", normalisation="pair_mean")
    assert build(weights, tmp_path / "bundle", "--split") == 2
    message = r"error: --split: these weights need each pair normalised by its own mean .*\n"
    assert re.fullmatch(message, capsys.readouterr().err)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None
    or importlib.util.find_spec("tensorrt") is not None,
    reason="needs tensorrt_rtx, and no tensorrt (which builds on a GPU only)",
)
def test_tensorrt_for_rtx_takes_no_plugins(
    flownetc: FlowNetC,
    flownetc_exported: onnx.ModelProto,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        graphs, "onnx_from_torch", lambda *_, **__: copy.deepcopy(flownetc_exported)
    )
    weights = save_tiny(flownetc, tmp_path / "tiny.safetensors")
    for form in ("plugin", "library"):
        assert build(weights, tmp_path / "bundle", "--correlation", form) == 2
        said = f"error: --correlation {form}: TensorRT for RTX does not support plugins\n"
        assert capsys.readouterr().err == said
    # At one size, as a plugin would want it; a real plan with the correlation in ONNX operators.
    one_size = ("--min-size", "128x192", "--max-size", "128x192", "--max-batch", "1")
    assert build(weights, tmp_path / "bundle", *one_size, "--targets", "tensorrt") == 0
    said = capsys.readouterr().out
    assert "skipped: correlation as plugin: TensorRT for RTX does not support plugins" in said
    assert "correlation: onnx" in said
    assert "model.rtx" in read_manifest(tmp_path / "bundle").files
