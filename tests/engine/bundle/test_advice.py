"""Commands that error messages suggest."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import (
    BundleFile,
    Gate,
    Manifest,
    Recurrence,
    SizeProfile,
    WeightsOrigin,
    read_manifest,
)
from engine.bundle.schema1 import role_of

FULL = (
    "python -m export.build_engine --network flownets_slim --weights FILE --precision int8 "
    "--max-epe-increase 1% --targets tensorrt "
)
SIZES = "--min-size 64x64 --size 384x512 --max-size 1088x1920 --max-batch 4 "


def manifest_of(*names: str) -> Manifest:
    file = BundleFile(role="network", precision="int8", bytes=5, sha256="b" * 64, tool="a tool")
    return Manifest(
        network="flownets_slim",
        precision="int8",
        layout="NHWC",
        divisor=64,
        profile=SizeProfile((1, 64, 64), (1, 384, 512), (4, 1088, 1920)),
        files={name: replace(file, role=role_of(name)) for name in names},
        parity=(),
        gate=Gate(0.01, "synthetic, 32 pairs", (), ()),
        weights=WeightsOrigin("c" * 64, "trained here", "MIT", {}),
    )


INT8 = manifest_of("model.onnx", "model.plan")


def test_a_bundle_of_two_graphs_is_rebuilt_as_one(tiny_split_bundle):
    manifest = read_manifest(tiny_split_bundle)
    command = rebuild_command(tiny_split_bundle, manifest, target="tensorrt")
    assert " --targets tensorrt --split " in command
    assert command.endswith(f" -o {tiny_split_bundle}")
    assert "--split" not in rebuild_command(tiny_split_bundle, manifest, whole=True)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"refine": "variational"}, " --refine variational"),
        ({"refine": "variational", "passes": 1}, " --refine variational --iterations 1"),
        ({"passes": 1}, " --refine none --iterations 1"),
        ({}, ""),
    ],
)
def test_a_bundle_stays_refined_or_not(fields, option):
    command = rebuild_command(Path("b"), replace(INT8, **fields), target="openvino")
    assert f" --targets openvino{option} --min-size" in command


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (["model.onnx", "model.plan"], "python -m export.rebuild b"),
        (["model.onnx", "model.rtx"], "python -m export.rebuild b"),
        (["model.onnx"], FULL + SIZES + "-o b"),
        (["model.plan"], FULL + SIZES + "-o b"),
        (["features.onnx", "match.onnx", "model.plan"], FULL + "--split " + SIZES + "-o b"),
        (["model.onnx", "model.plan", "libx.so"], FULL + "--correlation library " + SIZES + "-o b"),
    ],
)
def test_a_plan_alone_is_rebuilt_where_its_graph_is_there(names, command):
    manifest = manifest_of(*names)
    assert rebuild_command(Path("b"), manifest, target="tensorrt") == command


def test_a_plan_alone_is_rebuilt_only_where_it_alone_is_wanted(monkeypatch, tmp_path):
    assert rebuild_command(Path("b"), INT8, target="tensorrt", whole=True) == FULL + SIZES + "-o b"
    assert "rebuild" not in rebuild_command(Path("b"), INT8, target="openvino")
    assert "rebuild" not in rebuild_command(Path("b"), INT8)
    monkeypatch.setattr("engine.bundle.advice._PACKAGE", tmp_path)
    # What ships inside the package has the weights that ship.
    command = (FULL + SIZES).replace("--weights FILE ", "") + "-o DIR"
    assert rebuild_command(tmp_path / "b", INT8, target="tensorrt") == command


@pytest.mark.parametrize(
    ("repeated", "options"),
    [
        ({"recurrence": Recurrence(20, "on_the_fly", 8)}, "--iterations 20 --lookup on_the_fly "),
        ({"recurrence": Recurrence(12, "volume", 8)}, "--iterations 12 --lookup volume "),
        ({"passes": 3}, "--refine none --iterations 3 "),
    ],
)
def test_what_is_repeated_is_repeated_as_often(repeated, options):
    manifest = replace(INT8, **repeated)
    command = rebuild_command(Path("b"), manifest, target="tensorrt", whole=True)
    assert command == FULL + options + SIZES + "-o b"


def test_a_folder_with_a_space_is_one_argument():
    bundle = Path("my bundles/b")
    assert shlex.split(rebuild_command(bundle, INT8))[-1] == str(bundle)
    assert shlex.split(rebuild_command(bundle, INT8, target="tensorrt"))[-1] == str(bundle)
