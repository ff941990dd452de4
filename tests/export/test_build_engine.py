import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import engine
from engine.bundle.manifest import read_manifest
from engine.bundle.verify import verify_files
from tests.export.tiny import build
from training.networks.registry import NETWORKS


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bundle_is_complete_verified_and_loads(
    weights: Path, tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "bundle"
    options = ("--precision", precision, "--targets", "onnxruntime,openvino")

    assert build(weights, output, *options) == 0

    manifest = read_manifest(output)
    verify_files(output, manifest)
    assert {path.name for path in output.iterdir()} == {"manifest.json", "model.onnx"}
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]
    assert (manifest.network, manifest.precision, manifest.divisor) == ("tiny", precision, 64)
    assert manifest.profile.min == (1, 64, 64)
    assert manifest.profile.opt == (1, 128, 192)
    assert manifest.profile.max == (4, 1088, 1920)
    assert manifest.files["model.onnx"].role == "network"
    assert manifest.files["model.onnx"].precision == precision
    assert manifest.preprocessing is not None
    assert manifest.preprocessing.normalisation == "fixed_mean"
    assert manifest.operations is not None
    assert (manifest.operations.height, manifest.operations.width) == (128, 192)
    assert (manifest.weights.licence, manifest.weights.epe) == ("MIT", {"noise": 12.5})
    limit = NETWORKS["tiny"].tolerances[precision].mean_px
    assert [parity.backend for parity in manifest.parity] == ["onnxruntime", "openvino"]
    for parity in manifest.parity:
        assert parity.status == "ok"
        assert parity.mean_px is not None
        assert parity.mean_px <= limit
        assert parity.epe_change is not None
        assert "motorcycle 500x741" in parity.pairs
    with engine.load(output, backend="onnxruntime") as flow_engine:
        image = np.zeros((65, 70, 3), np.uint8)
        assert flow_engine.infer(image, image).shape == (65, 70, 2)
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"next: python -m bench.compare --bundle {output}"
    )


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None
    or importlib.util.find_spec("tensorrt") is not None,
    reason="needs tensorrt_rtx, and no tensorrt (which builds on a GPU only)",
)
@pytest.mark.usefixtures("quick_export")
def test_a_real_tensorrt_plan_is_built_and_never_passes_unseen(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(weights, tmp_path / "bundle", "--precision", "fp16", "--targets", "tensorrt") == 0

    manifest = read_manifest(tmp_path / "bundle")
    assert set(manifest.files) == {"model.onnx", "model.rtx"}
    assert manifest.files["model.rtx"].tool.startswith("tensorrt_rtx")
    parity = {parity.backend: parity for parity in manifest.parity}
    assert parity["onnxruntime"].status == "ok"
    if parity["tensorrt"].status == "not run":  # no GPU here
        assert parity["tensorrt"].reason
        assert f"tensorrt: not run: {parity['tensorrt'].reason}" in capsys.readouterr().out


def _corrupt(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if "conv3_1" in tensor.name)
    values = numpy_helper.to_array(tensor).copy()
    values[0] *= -1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_changed_weight_fails_the_build_and_spares_the_old_bundle(
    weights: Path,
    tmp_path: Path,
    quick_export: dict[str, onnx.ModelProto],
    precision: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out" / "bundle"
    assert build(weights, output, "--targets", "onnxruntime") == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    _corrupt(quick_export[precision])

    options = ("--precision", precision, "--targets", "onnxruntime,openvino")
    assert build(weights, output, *options) == 1

    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]
    errors = capsys.readouterr().err
    for backend in ("onnxruntime", "openvino"):
        assert f"  {backend}: motorcycle 500x741: mean distance to fp32 PyTorch is" in errors


def test_a_failed_first_build_leaves_nothing(
    weights: Path, tmp_path: Path, quick_export: dict[str, onnx.ModelProto]
) -> None:
    _corrupt(quick_export["fp32"])
    assert build(weights, tmp_path / "out" / "bundle", "--targets", "onnxruntime") == 1
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("quick_export")
def test_a_new_bundle_replaces_the_old_one(weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "bundle"
    assert build(weights, output, "--targets", "onnxruntime") == 0
    assert build(weights, output, "--targets", "onnxruntime", "--precision", "fp16") == 0
    assert read_manifest(output).precision == "fp16"
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]
