import copy
import errno
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import engine
from engine.manifest import read_manifest, verify_files
from export import build_engine, bundle
from export.deployable import Deployable
from export.precision import HalfNetwork
from export.spec import SPECS
from training.networks import NETWORKS
from training.networks.flownets import FlowNetS
from training.weights import save_weights

METADATA = {
    "network": "tiny",
    "normalisation": "fixed_mean",
    "licence": "MIT",
    "source": "seeded noise",
    "data": "none",
    "steps": "0",
    "epe": '{"noise": 12.5}',
    "commit": "0",
}


@pytest.fixture
def weights(tmp_path: Path, network: FlowNetS, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights file of the network "tiny", which `build_engine` knows as long as this lasts."""
    monkeypatch.setitem(NETWORKS, "tiny", lambda: FlowNetS(width=1 / 16))
    monkeypatch.setitem(SPECS, "tiny", SPECS["flownets"])
    path = tmp_path / "weights" / "tiny.safetensors"
    save_weights(path, network.state_dict(), METADATA)
    return path


@pytest.fixture
def quick_export(
    monkeypatch: pytest.MonkeyPatch, exported: onnx.ModelProto, half_exported: onnx.ModelProto
) -> dict[str, onnx.ModelProto]:
    """Take the graphs that the session has already exported from the very same network."""
    models = {"fp32": copy.deepcopy(exported), "fp16": copy.deepcopy(half_exported)}

    def export(deployable: Deployable, **_kwargs: Any) -> onnx.ModelProto:
        return models["fp16" if isinstance(deployable.network, HalfNetwork) else "fp32"]

    monkeypatch.setattr(bundle, "onnx_from_torch", export)
    return models


def build(weights: Path, output: Path, *options: str) -> int:
    common = ["--network", "tiny", "--weights", str(weights), "--size", "128x192"]
    return build_engine.main([*common, "-o", str(output), *options])


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
    assert (manifest.weights.licence, manifest.weights.epe) == ("MIT", {"noise": 12.5})
    limit = SPECS["tiny"].tolerances[precision].mean_px
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "flownets_slm"], "unknown network 'flownets_slm'.* Did you mean 'flownets_"),
        (["--size", "380x500"], "--size 380x500: .* multiples of 64; the next is 384x512"),
        (["--size", "0x64"], "--size 0x64: .* positive multiples of 64; the next is 64x64"),
        (["--size", "384"], "--size: '384' is no size; expected HxW, for example 384x512"),
        (["--min-size", "256x192"], "--min-size 256x192, --size 128x192, .*: expected"),
        (["--max-size", "128x128"], "--size 128x192, --max-size 128x128: expected"),
        (["--max-batch", "0"], "--max-batch 0: expected at least 1"),
        (["--targets", "openvno"], "unknown target 'openvno'.* Did you mean 'openvino'"),
        (["--precision", "fp61"], "--precision: invalid choice: 'fp61'"),
        (["--weights", "missing.safetensors"], "missing.safetensors: no such weights file"),
        (
            ["--network", "flownets"],
            r"these weights are not of 'flownets' \(their network: tiny\): ",
        ),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_2(
    weights: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert build(weights, tmp_path / "bundle", *options) == 2
    _assert_one_line(capsys, message)
    assert not (tmp_path / "bundle").exists()


def test_a_target_that_is_not_installed_is_an_error_only_when_asked_for(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        build_engine, "TARGETS", {"onnxruntime": (("onnxruntime",), ""), "x": (("no_x",), "get it")}
    )
    assert build(weights, tmp_path / "bundle", "--targets", "x") == 2
    _assert_one_line(capsys, "target x is not installed; get it")
    assert build(weights, tmp_path / "bundle", "--size", "1x1") == 2
    assert "left out: x is not installed (get it)" in capsys.readouterr().out


@pytest.mark.parametrize("below", [".", "bundle", "folder/bundle"])
def test_an_output_that_is_a_file_or_below_one_is_refused(
    weights: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(weights, weights / below) == 2
    _assert_one_line(capsys, "tiny.safetensors is a file; expected a folder")


def test_an_output_that_cannot_be_written_is_refused(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def mkdir(path: Path, **_kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert build(weights, tmp_path / "bundle") == 2
    _assert_one_line(capsys, "cannot write .*bundle: Permission denied. Choose another folder")


def test_leftovers_of_killed_builds_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left = [tmp_path / f".a.b.{number}.building" for number in (process.pid, os.getpid())]
    kept = [tmp_path / f".a.b.{os.getppid()}.building", tmp_path / f".a.{process.pid}.building"]
    for folder in (*left, *kept):
        folder.mkdir()
        (folder / "model.onnx").touch()
    bundle.check_output(tmp_path / "a.b")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_folder_with_other_files_is_not_replaced(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(weights, weights.parent) == 2
    _assert_one_line(capsys, "holds 'tiny.safetensors', which is no part of a bundle")
    assert weights.exists()


def test_an_unknown_normalisation_is_refused(
    weights: Path, tmp_path: Path, network: FlowNetS, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(weights, network.state_dict(), {**METADATA, "normalisation": "pear_mean"})
    assert build(weights, tmp_path / "bundle") == 2
    _assert_one_line(capsys, "'pear_mean'; .* Did you mean 'pair_mean'")


def _assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(f"^error: .*{message}", lines[0])
