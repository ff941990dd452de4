"""`--precision int8` and `auto` from weights to a bundle that its gate has admitted."""

import importlib.util
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import engine
from engine.bundle.manifest import Manifest, read_manifest
from engine.bundle.verify import verify_files
from engine.flow.formats import read_flow, write_flow
from engine.images import write_image
from export import reference
from export.graph import onnx_models as graphs
from export.graph.deployable import Deployable
from export.int8.calibrate import calibrate
from export.verify.noise import noise
from tests.export.tiny import build, save_tiny, tiny_entry
from tests.support.cpu import needs_int8
from training.int8.ranges import ActivationStatistics
from training.networks import NETWORKS
from training.networks.flownetc import FlowNetC
from training.normalise import FixedMean

# These alone may be int8: a narrow network does not survive more of it, and a gate that looks for
# layers builds once for each.
IN_INT8 = ("conv3", "conv4", "deconv2")
N_PAIRS = 3
# Of the true flow to what PyTorch computes.
DISTANCE = np.array([3, 4], np.float32)
Runner = Callable[..., int]


@pytest.fixture
def pictures(tmp_path: Path, deployable: Deployable) -> Path:
    """Pairs of 64x64 with a true flow that the network in fp32 misses by 5 px everywhere."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_pairs(folder, deployable, DISTANCE)
    return folder


def write_pairs(folder: Path, deployable: Deployable, distance: np.ndarray) -> None:
    for seed in range(N_PAIRS):
        pair = noise(1, 64, 64, seed=seed)
        for number, image in ((1, pair.image1), (2, pair.image2)):
            write_image(folder / f"{seed}_img{number}.png", image[0])
        with torch.inference_mode():
            flow = deployable(torch.from_numpy(pair.image1), torch.from_numpy(pair.image2)).numpy()
        write_flow(folder / f"{seed}_flow.flo", flow[0] + distance)


@pytest.fixture
def run(weights: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Build in int8 at 64x64, with the pictures to calibrate and to gate on."""
    _allow_int8(monkeypatch)
    sizes = ("--size", "64x64", "--max-size", "64x64", "--max-batch", "1")
    pairs = ("--calibration", str(pictures), "--gate", str(pictures))
    common = (*sizes, *pairs, "--precision", "int8", "--targets", "onnxruntime,openvino")
    return lambda output, *options: build(weights, output, *common, *options)


def _allow_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["tiny"].build()
    convolutions = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    names = [name for name, x in network.named_modules() if isinstance(x, convolutions)]
    in_float = {name.removesuffix(".0") for name in names} - {*IN_INT8}
    entry = NETWORKS["tiny"]
    recipe = replace(entry.int8, float_layers=tuple(in_float))
    monkeypatch.setitem(NETWORKS, "tiny", replace(entry, int8=recipe))


def layers_in_int8(model: Path) -> set[str]:
    tensors = onnx.load(model).graph.initializer
    names = {tensor.name for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8}
    found = (re.fullmatch(r"network\.(\w+?)(\.0)?\.weight_quantized", name) for name in names)
    return {match[1] for match in found if match}


def assert_gate_is_what_the_bundle_does(folder: Path, manifest: Manifest) -> None:
    """Measured again, on the pictures, with the bundle as it is."""
    assert manifest.gate is not None
    for result in manifest.gate.results:
        errors, distances = [], []
        with engine.load(folder, backend=result.backend) as flow_engine:
            for seed in range(N_PAIRS):
                pair = noise(1, 64, 64, seed=seed)
                flow = flow_engine.infer(pair.image1, pair.image2)
                truth, _ = read_flow(folder.parent / "pictures" / f"{seed}_flow.flo")
                errors.append(np.linalg.norm(flow[0] - truth, axis=-1).mean())
                distances.append(np.linalg.norm(flow[0] - (truth - DISTANCE), axis=-1))
        assert result.pairs == "pictures, 3 pairs of 64x64"
        assert result.epe_before == pytest.approx(5, rel=1e-4)
        assert result.epe == pytest.approx(np.mean(errors), rel=1e-4)
        assert result.mean_px == pytest.approx(np.mean(distances), rel=1e-3)
        assert result.p99_px == pytest.approx(np.percentile(distances, 99), rel=1e-3)
        assert result.epe <= result.epe_before * (1 + manifest.gate.max_epe_increase)


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("openvino", [pytest.param(True, marks=needs_int8), False])
def test_a_bundle_in_int8_is_admitted_verified_and_loads(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openvino: bool
) -> None:
    """With OpenVINO, and as on a CPU whose int8 it cannot use."""
    fault = None if openvino else "Old lists AMX"
    monkeypatch.setattr("engine.backends.openvino.int8.amx_fault", lambda: fault)
    assert run(tmp_path / "bundle", "--max-epe-increase", "20%") == 0

    manifest = read_manifest(tmp_path / "bundle")
    verify_files(tmp_path / "bundle", manifest)
    assert manifest.precision == "int8"
    assert manifest.gate is not None
    assert manifest.gate.max_epe_increase == 0.2
    assert manifest.gate.calibration == "pictures, 3 pairs of 64x64"
    assert manifest.gate.in_float == ()
    backends = ["onnxruntime", "openvino"] if openvino else ["onnxruntime"]
    assert [result.backend for result in manifest.gate.results] == backends
    statuses = {parity.backend: parity.status for parity in manifest.parity}
    assert statuses == {"onnxruntime": "ok", "openvino": "ok" if openvino else "not run"}
    if not openvino:
        assert "Old lists AMX" in str(manifest.parity[1].reason)
    assert_gate_is_what_the_bundle_does(tmp_path / "bundle", manifest)
    assert layers_in_int8(tmp_path / "bundle" / "model.onnx") == {*IN_INT8}


@needs_int8  # ONNX Runtime computes activations in float
@pytest.mark.usefixtures("quick_export")
def test_a_layer_that_does_too_much_harm_stays_in_float(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoilt(*arguments: object) -> dict[str, ActivationStatistics]:
        found = calibrate(*arguments)  # type: ignore[arg-type]
        return found | {"conv4": replace(found["conv4"], sample=np.float32([[1e-3]]))}

    monkeypatch.setattr(reference, "calibrate", spoilt)
    assert run(tmp_path / "bundle", "--max-epe-increase", "20%") == 0

    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.gate is not None
    assert manifest.gate.in_float == ("conv4",)
    assert_gate_is_what_the_bundle_does(tmp_path / "bundle", manifest)
    assert layers_in_int8(tmp_path / "bundle" / "model.onnx") == {"conv3", "deconv2"}
    assert "in float conv4: EPE at worst 5.000 -> " in capsys.readouterr().out


@pytest.mark.usefixtures("quick_export")
def test_a_gate_that_cannot_be_met_builds_nothing_and_says_what_each_layer_does(
    run: Runner,
    tmp_path: Path,
    deployable: Deployable,
    pictures: Path,
    tiny_bundle: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out" / "bundle"
    shutil.copytree(tiny_bundle, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    # Against its own flow in fp32 whatever int8 does is an increase.
    write_pairs(pictures, deployable, 2e-4 * DISTANCE)

    assert run(output) == 1

    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]
    error = capsys.readouterr().err
    assert error.startswith(
        "error: the bundle was not built: int8 increases the error by more than "
        "--max-epe-increase 1% allows: EPE at worst 0.001 -> "
    )
    assert "and no subset of the 3 layers meets the limit" in error
    effects = {
        layer: float(pixels) for layer, pixels in re.findall(r"(\w+) ([+-]\d\.\d{3}) px", error)
    }
    assert effects.keys() == {*IN_INT8}
    assert list(effects.values()) == sorted(effects.values(), reverse=True)
    assert max(effects.values()) > 0


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("fastest", ["fp16", "int8"])
def test_auto_keeps_the_fastest(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    def latencies(bundles: dict[str, Path], _request: object) -> dict[str, float]:
        assert bundles.keys() == {"fp32", "fp16", "int8"}
        return {name: 1.0 if name == fastest else 2.0 for name in bundles}

    monkeypatch.setattr("export.fastest.latencies_ms", latencies)
    output = tmp_path / "out" / "bundle"
    options = ("--precision", "auto", "--targets", "onnxruntime", "--max-epe-increase", "20%")
    assert run(output, *options) == 0
    manifest = read_manifest(output)
    verify_files(output, manifest)
    assert manifest.precision == fastest
    assert (manifest.gate is not None) == (fastest == "int8")
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None
    or importlib.util.find_spec("tensorrt") is not None,
    reason="needs tensorrt_rtx, and no tensorrt (which builds on a GPU only)",
)
@pytest.mark.usefixtures("quick_export")
def test_a_tensorrt_plan_in_int8(run: Runner, tmp_path: Path) -> None:
    options = ("--targets", "onnxruntime,tensorrt", "--max-epe-increase", "20%")
    assert run(tmp_path / "bundle", *options) == 0
    manifest = read_manifest(tmp_path / "bundle")
    assert set(manifest.files) == {"model.onnx", "model.rtx"}
    assert manifest.gate is not None
    assert "onnxruntime" in {result.backend for result in manifest.gate.results}


def test_two_graphs_in_int8(
    run: Runner,
    tmp_path: Path,
    pictures: Path,
    flownetc: FlowNetC,
    flownetc_split: tuple[onnx.ModelProto, onnx.ModelProto],
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", tiny_entry("flownetc"))
    _allow_int8(monkeypatch)
    save_tiny(flownetc, weights)
    monkeypatch.setattr(graphs, "two_graphs_from_torch", lambda *_, **__: flownetc_split)
    write_pairs(pictures, Deployable(flownetc, FixedMean()), DISTANCE)

    assert run(tmp_path / "bundle", "--split", "--max-epe-increase", "20%") == 0

    manifest = read_manifest(tmp_path / "bundle")
    assert set(manifest.files) == {"features.onnx", "match.onnx"}
    assert_gate_is_what_the_bundle_does(tmp_path / "bundle", manifest)
    assert layers_in_int8(tmp_path / "bundle" / "features.onnx") == {"conv3"}
    assert layers_in_int8(tmp_path / "bundle" / "match.onnx") == {"conv4", "deconv2"}
