"""`python -m export.rebuild DIR`: only the plan of a bundle, without PyTorch."""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import engine
from engine.bundle.manifest import (
    BundleFile,
    Gate,
    GateResult,
    Parity,
    read_manifest,
    write_manifest,
)
from engine.bundle.verify import verify_files
from engine.errors import BundleError
from export import rebuild, staging
from export.graph.fp16_storage import store_in_half
from export.graph.passes import make_passes_optional
from export.tensorrt.plan_from_onnx import BuiltPlan, PlanBuildError
from tests.export.matrix import faults_of
from tests.export.rebuilding import (
    ORT,
    PROFILE,
    Builder,
    contents,
    rebuilt,
    run_plans_as,
    shifted,
    the_onnx,
    written,
)
from tests.export.tiny import assert_one_line

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None
    or importlib.util.find_spec("tensorrt") is not None,
    reason="needs tensorrt_rtx, and no tensorrt (which builds on a GPU only)",
)
def test_a_damaged_plan_is_really_rebuilt_where_pytorch_is_not(bundle: Path) -> None:
    before = read_manifest(bundle)
    (bundle / "model.rtx").write_bytes(b"dam")
    message = rf"truncated\. Rebuild it with `python -m export\.rebuild {bundle}`\."
    with pytest.raises(BundleError, match=message):
        engine.load(bundle)

    missing = ("torch", "onnxscript", "onnx_ir", "skimage", "safetensors", "openvino")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        f"from export.rebuild import main; sys.exit(main([{str(bundle)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in bundle.iterdir()) == [
        "manifest.json", "model.onnx", "model.rtx"
    ]  # fmt: skip
    after = read_manifest(bundle)
    verify_files(bundle, after)
    assert not faults_of((bundle / "model.rtx").read_bytes())
    plan = after.files["model.rtx"]
    assert re.fullmatch(r"tensorrt_rtx 1\.[\d.]+", plan.tool)
    assert plan.compute_capability is None
    assert after.parity[0] == ORT
    assert (after.parity[1].backend, after.parity[1].status) == ("tensorrt", "not run")
    files = {**before.files, "model.rtx": plan}
    assert after == replace(before, files=files, parity=after.parity)
    assert f"rebuilt by {plan.tool}, without PyTorch to compare with; " in done.stdout
    engine.load(bundle, backend="onnxruntime").close()


def test_tensorrt_gets_the_graph_as_it_was_before_it_was_stored(
    bundle: Path, exported: onnx.ModelProto, builder: Builder
) -> None:
    stored = onnx.ModelProto()
    stored.CopyFrom(exported)
    store_in_half(stored)
    assert stored != exported
    onnx.save(stored, bundle / "model.onnx")
    manifest = read_manifest(bundle)
    manifest.files["model.onnx"] = BundleFile.of(
        bundle / "model.onnx", role="network", precision="fp16", tool="torch"
    )
    write_manifest(bundle, replace(manifest, precision="fp16"))

    assert rebuilt(bundle) == 0

    assert builder.models == [exported]
    assert (builder.options["profile"], builder.options["precision"]) == (PROFILE, "fp16")
    assert (bundle / "model.rtx").read_bytes() == builder.content
    verify_files(bundle, read_manifest(bundle))


TWO_PASSES = """<ir_version: 9, opset_import: ["": 18]>
passes (uint8[n,h,w,3] image1, uint8[n,h,w,3] image2) => (float[n,h,w,2] flow)
    <float[4] scales = {1, 1, 16, 16}> {
    values = Cast <to=1>(image1)
    planes = Transpose <perm=[0, 3, 1, 2]>(values)
    small = AveragePool <kernel_shape=[16, 16], strides=[16, 16]>(planes)
    flow_of_pass2 = Conv <pads=[4, 4, 4, 4]>(small, weights)
    large = Resize (flow_of_pass2, "", scales)
    flow = Transpose <perm=[0, 2, 3, 1]>(large)
}"""


def test_weights_that_only_an_optional_pass_reads_are_restored(
    bundle: Path, builder: Builder
) -> None:
    weights = np.full((2, 3, 9, 9), 0.5, np.float32)
    model = onnx.parser.parse_model(TWO_PASSES)
    model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    store_in_half(model)
    make_passes_optional(model, 2)
    assert "Cast" not in {node.op_type for node in model.graph.node if "half" in node.input[0]}
    onnx.save(model, bundle / "model.onnx")
    manifest = read_manifest(bundle)
    manifest.files["model.onnx"] = BundleFile.of(
        bundle / "model.onnx", role="network", precision="fp32", tool="torch"
    )
    write_manifest(bundle, replace(manifest, passes=2))

    assert rebuilt(bundle) == 0

    (built,) = builder.models
    (restored,) = (each for each in built.graph.initializer if each.name == "weights")
    np.testing.assert_array_equal(numpy_helper.to_array(restored), weights)


def test_the_package_that_the_bundle_has_a_plan_for_comes_first(
    bundle: Path, tmp_path: Path, builder: Builder
) -> None:
    assert rebuilt(bundle) == 0
    assert builder.asked == ["tensorrt_rtx", "tensorrt"]
    builder.package = "tensorrt"
    assert rebuilt(written(tmp_path / "plan", "model.plan")) == 0
    assert builder.asked == ["tensorrt", "tensorrt_rtx"]


def test_another_tensorrt_adds_its_own_plan(bundle: Path, builder: Builder) -> None:
    builder.package = "tensorrt"
    before = read_manifest(bundle)
    assert rebuilt(bundle) == 0
    after = read_manifest(bundle)
    verify_files(bundle, after)
    assert after.files["model.rtx"] == before.files["model.rtx"]
    assert (bundle / "model.rtx").read_bytes() == b"the old plan"
    added = after.files["model.plan"]
    assert (added.tool, added.compute_capability) == ("tensorrt 99", "8.7")


def test_a_damaged_plan_of_another_tensorrt_is_given_up(bundle: Path, builder: Builder) -> None:
    builder.package = "tensorrt"
    (bundle / "model.rtx").write_bytes(b"dam")
    assert rebuilt(bundle) == 0
    manifest = read_manifest(bundle)
    assert set(manifest.files) == {"model.onnx", "model.plan"}
    verify_files(bundle, manifest)


def test_what_was_measured_of_the_old_plan_is_no_longer_claimed(
    tmp_path: Path, builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tuple(
        GateResult(name, "p", 1.0, 1.0, None, 0.1, 0.2) for name in ("onnxruntime", "tensorrt")
    )
    gate = Gate(0.01, "synthetic", (), results)
    bundle = written(tmp_path / "bundle", gate=gate, precision="int8")
    assert rebuilt(bundle) == 0
    manifest = read_manifest(bundle)
    assert manifest.gate == replace(gate, results=results[:1])
    assert manifest.parity == (
        ORT,
        Parity("tensorrt", "not run", "rebuilt by tensorrt_rtx 99, without PyTorch to compare with;"
               " nor could it run here: no GPU here", None, None, None,
               "noise 1x64x128, noise 1x61x123, noise 2x128x128"),
    )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"plan       {bundle}/model.rtx, rebuilt",
        f"next: python -m bench.compare --bundle {bundle}",
    ]


def test_a_plan_that_runs_is_compared_with_the_onnx(
    bundle: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plans_as(monkeypatch, the_onnx)
    assert rebuilt(bundle) == 0
    parity = read_manifest(bundle).parity[1]
    assert parity.status == "not run"
    assert parity.reason == (
        "rebuilt by tensorrt_rtx 99, without PyTorch to compare with; it differs from model.onnx "
        "in onnxruntime by 0.0e+00 px on average, 0.0e+00 px at most"
    )


def test_a_plan_that_computes_something_else_changes_nothing(
    bundle: Path,
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(bundle)
    run_plans_as(monkeypatch, shifted)
    assert rebuilt(bundle) == 1
    assert contents(bundle) == before
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: the plan was not rebuilt, verification failed:"
    assert errors[1] == (
        "  tensorrt: noise 1x64x128: mean distance to model.onnx in onnxruntime is 0.707 px, "
        "expected at most 0.001 px"
    )


def test_a_failed_build_changes_nothing(
    bundle: Path,
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_args: Any, **_options: Any) -> BuiltPlan:
        raise PlanBuildError("no such kernel")

    monkeypatch.setattr(rebuild, "build_plan", fail)
    before = contents(bundle)
    assert rebuilt(bundle) == 1
    assert contents(bundle) == before
    assert_one_line(capsys, "the plan was not rebuilt: no such kernel$")


@pytest.mark.parametrize("renamed", range(3))
def test_killed_at_any_point_the_bundle_is_the_old_one(
    bundle: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    """Killed when the manifest to compare with, the manifest, or the bundle gets its name."""
    before, count = contents(bundle), 0

    def killed(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count > renamed:
            raise KeyboardInterrupt
        return os.rename(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(staging, "exchange", killed)
        assert rebuilt(bundle) == 130  # as a shell reports Ctrl-C
    assert contents(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]
    assert rebuilt(bundle) == 0
    verify_files(bundle, read_manifest(bundle))


def test_what_a_killed_one_left_is_swept_up(bundle: Path, builder: Builder) -> None:
    (bundle / ".model.rtx.0123abcd").write_bytes(b"half a pl")
    assert rebuilt(bundle) == 0
    assert sorted(contents(bundle)) == ["manifest.json", "model.onnx", "model.rtx"]
