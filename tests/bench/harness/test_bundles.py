import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.environment import ModuleError
from bench.harness.bundles import BUILD_SOURCES, Bundles
from bench.harness.plan import Row
from engine.bundle.manifest import read_manifest, write_manifest
from engine.errors import BackendError, BundleError
from engine.system.argument_parser import UsageError
from tests.support.tiny_network import in_precision

ROOT = Path(__file__).parents[3]
OFFLINE = ("export", "training", "kernels")
ROW = Row("tiny", "onnxruntime", "fp32", (64, 70), 1)


@pytest.fixture(autouse=True)
def _no_shipped_bundle(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.harness.bundles.DEFAULT_BUNDLE", tmp_path / "none")


@pytest.fixture
def commands(tiny_bundle, tiny_split_bundle, tmp_path, monkeypatch):
    """Record the commands, and copy a tiny bundle for each build."""
    seen = []

    def run_module(module, *arguments):
        seen.append([module, *arguments])
        if module == "export.build_engine":
            source = tiny_split_bundle if "--split" in arguments else tiny_bundle
            shutil.copytree(source, arguments[-1])
        return json.dumps({"path": "w.safetensors", "sha256": "0" * 64, "source": "training"})

    monkeypatch.setattr("bench.harness.bundles.run_module", run_module)
    return seen


def bundles_of(*given, cache, weights=None):
    return Bundles(given, trust=None, weights=weights, cache=cache, size=(64, 70), batch=4)


def test_given_bundles_come_first(tiny_bundle, tmp_path, commands):
    other = Path(shutil.copytree(tiny_bundle, tmp_path / "other"))
    half = Path(shutil.copytree(tiny_bundle, tmp_path / "half"))
    write_manifest(half, in_precision(read_manifest(half), "fp16"))
    bundles = bundles_of(half, other, tiny_bundle, cache=tmp_path)
    assert bundles.bundle_for(ROW).path == other
    assert bundles.bundle_for(replace(ROW, backend="openvino (bare)")).path == other
    assert bundles.bundle_for(replace(ROW, precision="fp16")).path == half
    assert not commands


def test_built_once_and_found_again(tmp_path, commands):
    bundles = bundles_of(cache=tmp_path)
    path = bundles.bundle_for(ROW).path
    assert bundles.bundle_for(replace(ROW, backend="openvino")).path == path
    assert bundles_of(cache=tmp_path).bundle_for(ROW).path == path
    builds = [command for command in commands if command[0] == "export.build_engine"]
    assert len(builds) == 1
    assert builds[0][7:9] == ["--size", "64x128"]
    assert path.parent == tmp_path / "bundles"


def test_streams_get_bundles_of_two_graphs(tmp_path, commands):
    bundles = bundles_of(cache=tmp_path)
    row = replace(ROW, backend="onnxruntime (stream+reuse)")
    split = bundles.bundle_for(row)
    assert set(split.manifest.files) == {"features.onnx", "match.onnx"}
    whole = bundles.bundle_for(replace(ROW, backend="onnxruntime (stream)"))
    assert set(whole.manifest.files) == {"model.onnx"}
    assert bundles.bundle_for(row).path == split.path
    # Two graphs compute the same flow as one.
    given = bundles_of(split.path, cache=tmp_path)
    assert given.bundle_for(ROW).path == split.path


def test_the_order_of_the_rows_does_not_choose_the_graph(tmp_path, commands):
    bundles = bundles_of(cache=tmp_path)
    split = bundles.bundle_for(replace(ROW, backend="onnxruntime (stream+reuse)"))
    whole = bundles.bundle_for(ROW)
    assert set(whole.manifest.files) == {"model.onnx"}
    assert split.path != whole.path


def test_a_bundle_that_no_row_uses_is_refused(tiny_bundle, tiny_split_bundle, tmp_path, commands):
    same = Path(shutil.copytree(tiny_bundle, tmp_path / "same"))
    half = Path(shutil.copytree(tiny_bundle, tmp_path / "half"))
    write_manifest(half, in_precision(read_manifest(half), "fp16"))
    reuse = replace(ROW, backend="onnxruntime (stream+reuse)")
    rows = [ROW, reuse, replace(ROW, precision="fp16")]
    bundles_of(tiny_bundle, tiny_split_bundle, half, cache=tmp_path).check_given(rows)
    with pytest.raises(UsageError, match=rf"--bundle {same}: no row uses it\. It contains tiny"):
        bundles_of(tiny_bundle, same, cache=tmp_path).check_given(rows)
    with pytest.raises(
        UsageError, match=rf"--bundle {half}: .* tiny in fp16, which has no row in this run"
    ):
        bundles_of(tiny_bundle, half, cache=tmp_path).check_given([ROW])
    assert not commands


def test_build_sources_cover_every_imported_module(tmp_path):
    """Every module that a build imports is among BUILD_SOURCES."""
    code = (
        "import sys, export.bundle, export.fastest, export.resolve, pathlib; "
        "print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)), "
        "sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = {Path(line) for line in done.stdout.splitlines() if Path(line).is_relative_to(ROOT)}
    ours = {path for path in imported if path.relative_to(ROOT).parts[0] in OFFLINE}
    known = {path for pattern in BUILD_SOURCES for path in ROOT.glob(pattern)}
    assert ROOT / "training" / "networks" / "__init__.py" in ours
    assert ours <= known


def test_a_plan_that_cannot_be_built_here(tmp_path, commands):
    with pytest.raises(BackendError, match="made no file for tensorrt here"):
        bundles_of(cache=tmp_path).bundle_for(replace(ROW, backend="tensorrt"))


def test_a_build_that_fails_is_not_tried_again(tmp_path, commands, monkeypatch):
    bundles = bundles_of(cache=tmp_path)
    bundles.weights_for("tiny")
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        raise ModuleError("verification failed")

    monkeypatch.setattr("bench.harness.bundles.run_module", fail)
    for _ in range(2):
        with pytest.raises(ModuleError, match="verification failed"):
            bundles.bundle_for(ROW)
    assert len(calls) == 1


def test_only_flows_of_the_same_weights_are_compared(tiny_bundle, tmp_path, commands):
    other = Path(shutil.copytree(tiny_bundle, tmp_path / "other"))
    manifest = read_manifest(other)
    origin = replace(manifest.weights, sha256="1" * 64, source="seeded random weights")
    write_manifest(other, replace(in_precision(manifest, "fp16"), weights=origin))
    bundles = bundles_of(tiny_bundle, other, cache=tmp_path)
    half, torch = replace(ROW, precision="fp16"), replace(ROW, backend="pytorch-eager")
    assert [bundles.has_reference_weights(row) for row in (ROW, half, torch)] == [True, False, True]
    assert [bundles.is_trained(row) for row in (ROW, half, torch)] == [True, False, True]
    row = Row("dis_fast", "opencv", "fp32", (64, 70), 1)
    assert bundles.is_trained(row)
    assert not bundles.has_reference_weights(row)


def test_given_weights_are_passed_on(tmp_path, commands):
    mine = tmp_path / "mine"
    mine.write_bytes(b"weights")
    bundles_of(cache=tmp_path, weights=mine).weights_for("tiny")
    assert commands == [
        ["bench.runners.torch", "tiny", "--cache", str(tmp_path), "--weights", str(mine)]
    ]


def test_given_weights_are_not_replaced_by_those_of_the_default_bundle(
    tiny_bundle, tmp_path, commands, monkeypatch
):
    default = Path(shutil.copytree(tiny_bundle, tmp_path / "default"))
    monkeypatch.setattr("bench.harness.bundles.DEFAULT_BUNDLE", default)
    mine = tmp_path / "mine"
    mine.write_bytes(b"weights")
    assert bundles_of(cache=tmp_path).bundle_for(ROW).path == default
    built = bundles_of(cache=tmp_path, weights=mine).bundle_for(ROW)
    assert built.path.parent == tmp_path / "bundles"
    assert any(command[0] == "export.build_engine" for command in commands)
    # A given bundle is kept.
    assert bundles_of(tiny_bundle, cache=tmp_path, weights=mine).bundle_for(ROW).path == tiny_bundle
    manifest = read_manifest(default)
    origin = replace(manifest.weights, sha256=hashlib.sha256(b"weights").hexdigest())
    write_manifest(default, replace(manifest, weights=origin))
    assert bundles_of(cache=tmp_path, weights=mine).bundle_for(ROW).path == default


def test_another_runtime_version_is_built_again(tmp_path, commands, monkeypatch):
    path = bundles_of(cache=tmp_path).bundle_for(ROW).path
    monkeypatch.setattr("bench.harness.bundles.versions", lambda names: dict.fromkeys(names, "99"))
    assert bundles_of(cache=tmp_path).bundle_for(ROW).path != path


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="is not a bundle"):
        bundles_of(tmp_path / "nowhere", cache=tmp_path)
