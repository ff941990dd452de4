"""`build_engine --rebuild DIR`: a bundle's plan alone, without PyTorch."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

import engine
from engine import backends
from engine.backends.tensorrt_package import TensorRT
from engine.errors import BackendNotInstalledError, BundleError
from engine.manifest import (
    BundleFile,
    Gate,
    GateResult,
    Manifest,
    Parity,
    SizeProfile,
    WeightsOrigin,
    read_manifest,
    sha256_of,
    verify_files,
    write_manifest,
)
from export import build_engine, rebuild
from export.engine_from_onnx import BuiltPlan, PlanBuildError
from export.storage import store_in_half
from tests.export.matrix import faults_of, write_onnx
from tests.export.tiny import assert_one_line

ROOT = Path(__file__).parents[2]
PROFILE = SizeProfile((1, 64, 64), (1, 64, 128), (2, 128, 256))
ONE_SIZE = SizeProfile((1, 64, 128), (1, 64, 128), (1, 64, 128))
ORT = Parity("onnxruntime", "ok", None, 1e-6, 1e-5, 0.0, "pairs")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A network of one matrix, and a plan that is none."""
    return written(tmp_path / "bundle")


def written(folder: Path, *files: str, **changes: Any) -> Path:
    folder.mkdir()
    write_onnx(folder / "model.onnx")
    for name in files or ("model.rtx",):
        (folder / name).write_bytes(b"the old plan")
    manifest = Manifest(
        network="flownets",
        precision="fp32",
        layout="NHWC",
        divisor=64,
        profile=PROFILE,
        files={
            path.name: BundleFile(
                path.stat().st_size,
                sha256_of(path),
                "an old tool",
                "9.0" if path.suffix == ".plan" else None,
            )
            for path in folder.iterdir()
        },
        parity=(ORT, Parity("tensorrt", "ok", None, 2e-6, 2e-5, 0.0, "pairs")),
        gate=None,
        weights=WeightsOrigin("1" * 64, "noise", "MIT", {}),
    )  # fmt: skip
    write_manifest(folder, replace(manifest, **changes))
    return folder


class Builder:
    """Stands in for TensorRT: writes a plan, and keeps what it was given."""

    def __init__(self) -> None:
        self.package = "tensorrt_rtx"
        self.content = b"the new plan, longer"
        self.models: list[onnx.ModelProto] = []
        self.options: dict[str, Any] = {}
        self.asked: list[str] = []

    def load(self, names: Any) -> TensorRT:
        self.asked = list(names)
        return TensorRT(self.package, SimpleNamespace(__version__="99"))

    def build(
        self, onnx_path: Path, plan_path: Path, profile: SizeProfile, **options: Any
    ) -> BuiltPlan:
        self.models.append(onnx.load(onnx_path))
        self.options = {"profile": profile, **options}
        tensorrt = self.load(options["packages"])
        plan_path.with_name(tensorrt.plan_file).write_bytes(self.content)
        capability = "8.7" if self.package == "tensorrt" else None
        size = len(self.content)
        return BuiltPlan(tensorrt.plan_file, tensorrt.tool, capability, 1.0, size)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    made = Builder()
    monkeypatch.setattr(rebuild, "load_tensorrt", made.load)
    monkeypatch.setattr(rebuild, "build_plan", made.build)
    run_plans_as(monkeypatch, no_gpu)
    return made


def no_gpu(bundle: Path, manifest: Manifest, **settings: Any) -> Any:
    raise BackendNotInstalledError("no GPU here")


def the_onnx(bundle: Path, manifest: Manifest, **settings: Any) -> Any:
    return backends.open_backend("onnxruntime", bundle, manifest, **settings)


def shifted(bundle: Path, manifest: Manifest, **settings: Any) -> Any:
    backend = the_onnx(bundle, manifest, **settings)
    run = backend.run
    backend.run = lambda first, second: run(first, second) + np.float32(0.5)
    return backend


def run_plans_as(monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Any]) -> None:
    """Let a function open what the TensorRT backend would."""
    monkeypatch.setitem(sys.modules, "stand_in", SimpleNamespace(Backend=opened))
    monkeypatch.setitem(backends.BACKENDS, "tensorrt", "stand_in:Backend")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rebuilt(folder: Path) -> int:
    return build_engine.main(["--rebuild", str(folder)])


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None
    or importlib.util.find_spec("tensorrt") is not None,
    reason="needs tensorrt_rtx, and no tensorrt (which builds on a GPU only)",
)
def test_a_damaged_plan_is_really_rebuilt_where_pytorch_is_not(bundle: Path) -> None:
    before = read_manifest(bundle)
    (bundle / "model.rtx").write_bytes(b"dam")
    with pytest.raises(BundleError, match=r"truncated\. Rebuild it with `python -m export\.build_e"
                       rf"ngine --rebuild {bundle}`\."):  # fmt: skip
        engine.load(bundle)

    missing = ("torch", "training", "onnxscript", "onnx_ir", "skimage", "safetensors", "openvino")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        f"from export.build_engine import main; sys.exit(main(['--rebuild', {str(bundle)!r}]))"
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
    size, sha256 = (bundle / "model.onnx").stat().st_size, sha256_of(bundle / "model.onnx")
    manifest.files["model.onnx"] = BundleFile(size, sha256, "torch", None)
    write_manifest(bundle, replace(manifest, precision="fp16"))

    assert rebuilt(bundle) == 0

    assert builder.models == [exported]
    assert (builder.options["profile"], builder.options["precision"]) == (PROFILE, "fp16")
    assert (bundle / "model.rtx").read_bytes() == builder.content
    verify_files(bundle, read_manifest(bundle))


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
        GateResult(name, "p", 1.0, 1.0, 0.1, 0.2) for name in ("onnxruntime", "tensorrt")
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
    assert errors[0] == "error: the plan was not built, verification failed:"
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
    assert_one_line(capsys, "the plan was not built: no such kernel$")


# Renamed are: the manifest to compare with, which is elsewhere; the plan; the manifest.
@pytest.mark.parametrize("renamed", range(4))
def test_killed_at_any_point_the_bundle_is_valid_or_refused_and_mended(
    bundle: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    replace_file, count = os.replace, 0

    def killed(source: Any, target: Any) -> None:
        nonlocal count
        if count == renamed:
            raise KeyboardInterrupt
        count += 1
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        if renamed < 3:
            with pytest.raises(KeyboardInterrupt):
                rebuilt(bundle)
        else:
            assert rebuilt(bundle) == 0

    assert sorted(contents(bundle)) == ["manifest.json", "model.onnx", "model.rtx"]
    assert ((bundle / "model.rtx").read_bytes() == builder.content) == (renamed >= 2)
    if renamed == 2:
        message = rf"model\.rtx has 20 bytes; the manifest says 12.*`.* --rebuild {bundle}`\."
        with pytest.raises(BundleError, match=message):
            engine.load(bundle)
    else:
        engine.load(bundle, backend="onnxruntime").close()
    assert rebuilt(bundle) == 0
    verify_files(bundle, read_manifest(bundle))


def test_what_a_killed_one_left_is_swept_up(bundle: Path, builder: Builder) -> None:
    (bundle / ".model.rtx.0123abcd").write_bytes(b"half a pl")
    assert rebuilt(bundle) == 0
    assert sorted(contents(bundle)) == ["manifest.json", "model.onnx", "model.rtx"]


def _no_folder(bundle: Path) -> None:
    shutil.rmtree(bundle)


def _no_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def _changed_onnx(bundle: Path) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "model.onnx").write_bytes(content)


def _no_onnx(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_folder, "is not a bundle: it is not a folder; expected"),
        (_no_manifest, r"is not a bundle: it has no manifest\.json; expected"),
        (
            _changed_onnx,
            r"model\.onnx has SHA-256 .*: changed\. Rebuild it with `.* --network flow",
        ),
        (_no_onnx, r"model\.onnx is missing; .* Rebuild it with `.* --network flownets "),
    ],
)
def test_a_bundle_that_is_none(
    bundle: Path,
    builder: Builder,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
    message: str,
) -> None:
    harm(bundle)
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, message)
    assert not builder.models


FULL = r"with PyTorch: `python -m export\.build_engine --network"


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        (["other.bin"], {}, rf"it has no TensorRT plan\. Add one, {FULL} flownets .*--targets te"),
        (["model.rtx"], {"network": "mine"}, rf"its network 'mine' is none of flownets, .*{FULL}"),
        (
            ["model.plan", "libflow_correlation_tensorrt.so"],
            {"network": "flownetc"},
            r"its plan's correlation is a plugin, which model\.onnx has not\. Build it anew, "
            rf"{FULL} flownetc .* --correlation library ",
        ),
        (
            ["model.plan"],
            {"network": "flownetc", "profile": ONE_SIZE},
            rf"its plan is for one size, .* may be a plugin, .*{FULL} flownetc",
        ),
    ],
)
def test_a_plan_that_the_onnx_is_not_enough_for(
    tmp_path: Path,
    builder: Builder,
    capsys: pytest.CaptureFixture[str],
    files: list[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    bundle = written(tmp_path / "bundle", *files, **changes)
    before = contents(bundle)
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, f"cannot rebuild the plan of {bundle}: {message}")
    assert contents(bundle) == before
    assert not builder.models


@pytest.mark.parametrize(
    ("files", "changes"),
    [
        (["model.plan"], {"network": "flownetc"}),
        (["model.plan"], {"profile": ONE_SIZE}),
        (["model.rtx"], {"network": "flownetc", "profile": ONE_SIZE}),
    ],
)
def test_a_plan_that_has_no_plugin_for_certain(
    tmp_path: Path, builder: Builder, files: list[str], changes: dict[str, Any]
) -> None:
    assert rebuilt(written(tmp_path / "bundle", *files, **changes)) == 0


def test_two_graphs(
    tiny_split_bundle: Path,
    tmp_path: Path,
    builder: Builder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = Path(shutil.copytree(tiny_split_bundle, tmp_path / "bundle"))
    manifest = read_manifest(bundle)
    manifest.files["model.rtx"] = BundleFile(1, "0" * 64, "an old tool", None)
    write_manifest(bundle, replace(manifest, network="flownetc"))
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, rf"its plan is of one graph, model\.onnx, and it holds two.*{FULL} flo"
                    r"wnetc --precision fp32 --targets tensorrt --split -o ")  # fmt: skip


def test_no_tensorrt(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    before = contents(bundle)
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, "TensorRT is not installed .*pip install 'flownet-engine")
    assert contents(bundle) == before


def test_no_onnx_package(
    bundle: Path,
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, "--rebuild needs the package onnx: pip install onnx$")


def test_a_bundle_that_cannot_be_written(
    bundle: Path,
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(dir: Path) -> Any:
        raise OSError(30, "Read-only file system", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, f"cannot write {bundle}: Read-only file system. Copy it to a folder")
    assert not builder.models


@pytest.mark.parametrize(
    ("others", "first"),
    [
        (["--network", "flownets"], "--network"),
        (["--precision=int8"], "--precision=int8"),
        (["-o", "out"], "-o"),
        (["--split"], "--split"),
        (["another"], "another"),
    ],
)
def test_no_other_option_stands_beside_it(
    bundle: Path,
    builder: Builder,
    capsys: pytest.CaptureFixture[str],
    others: list[str],
    first: str,
) -> None:
    for arguments in (["--rebuild", str(bundle), *others], [*others, f"--rebuild={bundle}"]):
        assert build_engine.main(arguments) == 2
        assert_one_line(capsys, f"{first}: --rebuild DIR stands alone, .*; leave it out$")
    assert not builder.models


def test_it_wants_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_engine.main(["--rebuild"]) == 2
    assert_one_line(capsys, "--rebuild: expected one argument")


@pytest.mark.parametrize("arguments", [["--help"], ["--rebuild", "x", "-h"]])
def test_the_help_knows_it(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_engine.main(arguments)
    assert "--rebuild DIR" in capsys.readouterr().out
