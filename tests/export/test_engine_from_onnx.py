"""Plans built for real by TensorRT for RTX, which needs no GPU for that."""

import sys
from dataclasses import replace

import onnx
import pytest

from engine.bundle.manifest import SizeProfile
from engine.errors import BackendNotInstalledError, InputError
from export.tensorrt import plan_from_onnx as engine_from_onnx
from export.tensorrt.plan_from_onnx import PlanBuildError, build_plan
from tests.export.matrix import faults_of, write_onnx

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")

PROFILE = SizeProfile(min=(1, 64, 64), opt=(1, 64, 128), max=(2, 128, 256))


@pytest.fixture(autouse=True)
def only_rtx(monkeypatch):
    """Keep to the package that builds anywhere, where both are installed."""
    load = engine_from_onnx.load_tensorrt
    monkeypatch.setattr(engine_from_onnx, "load_tensorrt", lambda names: load(["tensorrt_rtx"]))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_builds_a_portable_plan(tmp_path, precision):
    model = write_onnx(tmp_path / "model.onnx", half=precision == "fp16")
    built = build_plan(model, tmp_path / "model.plan", PROFILE, precision=precision)
    plan = (tmp_path / "model.rtx").read_bytes()
    assert (built.file, built.compute_capability) == ("model.rtx", None)
    assert built.tool == f"tensorrt_rtx {tensorrt_rtx.__version__}"
    assert built.bytes == len(plan) > 0
    assert not faults_of(plan)
    assert "MALFORMED_ENGINE" in faults_of(plan[::-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.rtx"]


def test_parser_errors_name_the_node(tmp_path):
    model = write_onnx(tmp_path / "model.onnx", channels=5)
    with pytest.raises(PlanBuildError, match=r"(?s)tensorrt_rtx 1\..* cannot read .*model.onnx:\n  "
                       r"MatMul 'head': .+"):  # fmt: skip
        build_plan(model, tmp_path / "model.plan", PROFILE, precision="fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("content", [b"not a protobuf", None])
def test_a_file_that_is_no_onnx(tmp_path, content):
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(PlanBuildError, match=r"(?s)cannot read .*model.onnx:\n  .+"):
        build_plan(model, tmp_path / "model.plan", PROFILE, precision="fp32")


def test_an_empty_file_is_an_empty_graph(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(PlanBuildError, match="the graph has the inputs none; expected image1, im"):
        build_plan(tmp_path / "model.onnx", tmp_path / "a.plan", PROFILE, precision="fp32")


def test_other_inputs(tmp_path):
    model = write_onnx(tmp_path / "model.onnx")
    proto = onnx.load(model)
    proto.graph.input[1].name = proto.graph.node[1].input[0] = "second"
    onnx.save(proto, model)
    with pytest.raises(PlanBuildError, match="has the inputs image1, second; expected image1, im"):
        build_plan(model, tmp_path / "model.plan", PROFILE, precision="fp32")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"min": (1, 192, 64)}, "height has min 192, opt 64, max 128; expected 1 <= min <= opt"),
        ({"opt": (1, 64, 512)}, "width has min 64, opt 512, max 256"),
        ({"min": (0, 64, 64)}, "batch has min 0, opt 1, max 2"),
    ],
)
def test_a_profile_that_makes_no_sense(tmp_path, change, text):
    with pytest.raises(InputError, match=text):
        build_plan(
            tmp_path / "model.onnx",
            tmp_path / "model.plan",
            replace(PROFILE, **change),
            precision="fp16",
        )


def test_unknown_precision(tmp_path):
    with pytest.raises(InputError, match=r"unknown precision 'fp61'; .* Did you mean 'fp16'?"):
        build_plan(tmp_path / "a.onnx", tmp_path / "a.plan", PROFILE, precision="fp61")


def test_no_tensorrt(tmp_path, monkeypatch):
    monkeypatch.undo()
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BackendNotInstalledError, match=r"TensorRT is not installed .tensorrt: .*rtx"
    ):
        build_plan(tmp_path / "a.onnx", tmp_path / "a.plan", PROFILE, precision="fp16")
