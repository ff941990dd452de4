"""Requests that `python -m export.rebuild DIR` refuses, changing nothing, and its command line."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.bundle.manifest import SizeProfile, read_manifest, write_manifest
from export import build_engine, rebuild
from tests.export.rebuilding import Builder, contents, rebuilt, written
from tests.export.tiny import assert_one_line

ONE_SIZE = SizeProfile((1, 64, 128), (1, 64, 128), (1, 64, 128))
FULL = r"with PyTorch: `python -m export\.build_engine --network"


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


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        (["other.bin"], {}, rf"it has no TensorRT plan\. Add one, {FULL} flownets .*--targets te"),
        (["model.rtx"], {"network": "mine"}, rf"its network 'mine' is none of flownets, .*{FULL}"),
        (
            ["model.plan", "libflow_correlation_tensorrt.so"],
            {"network": "flownetc"},
            r"its plan's correlation is a plugin, which model\.onnx has not\. Build it again, "
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
    manifest.files["model.rtx"] = replace(manifest.files["match.onnx"], role="plan")
    write_manifest(bundle, replace(manifest, network="flownetc"))
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, rf"its plan is of one graph, model\.onnx, and it holds two.*{FULL} flo"
                    r"wnetc --weights FILE --precision fp32 --targets tensorrt --s")  # fmt: skip


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
    assert_one_line(
        capsys, r"a rebuild needs the package onnx: pip install 'flownet-engine\[rebuild\]'$"
    )


def test_a_bundle_that_cannot_be_written(
    bundle: Path,
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: Path, **_options: Any) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert rebuilt(bundle) == 2
    assert_one_line(capsys, f"cannot write {bundle}: Read-only file system.* Or copy the bundle")
    assert not builder.models


def test_the_earlier_form_of_the_command_with_an_equals_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_engine.main([f"--rebuild={tmp_path / 'none'}"]) == 2
    assert_one_line(capsys, "none")


def test_the_earlier_form_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = ((rebuild.main, []), (build_engine.main, ["--rebuild"]))
    for main, prefix in commands:
        assert main([*prefix, str(tmp_path / "none")]) == 2
        assert_one_line(capsys, "none")
        assert main([*prefix, "a", "--split"]) == 2
        assert_one_line(capsys, "unrecognized arguments: --split")
        assert main(prefix) == 2
        assert_one_line(capsys, "the following arguments are required: DIR")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--help", 0, "usage: python -m export.build_engine"),
        ("--network flownets -o x", 2, "error: a build needs the package torch: pip install"),
        ("--rebuil x --network flownets -o x", 2, "error: unrecognized arguments: --rebuil x"),
    ],
)
def test_without_pytorch(arguments: str, code: int, said: str) -> None:
    """As on a device that only rebuilds plans."""
    program = "import sys; sys.modules['torch'] = None; import export.build_engine as it; "
    command = [sys.executable, "-c", f"{program}sys.exit(it.main())", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr).startswith(said)
    assert done.returncode == code
