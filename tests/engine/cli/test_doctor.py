"""``flow doctor``."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.cli.main import main
from engine.cli.report import collect


def test_text(tiny_bundle, capsys):
    assert main(["doctor", "--bundle", str(tiny_bundle), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"engine    {engine.__version__}"
    assert any(line.startswith("packages  numpy ") and "onnxruntime" in line for line in lines)
    assert any(line.startswith("cpu ") and "threads for this process" in line for line in lines)
    assert any(line.startswith("gpu ") for line in lines)
    assert any(line.startswith("bundle    tiny fp32 (model.onnx ") for line in lines)
    (tensorrt,) = (line for line in lines if line.startswith("  tensorrt "))
    assert " no   " in tensorrt
    (cpu,) = (line for line in lines if line.startswith("  onnxruntime "))
    assert cpu.split()[1:] == ["yes", *cpu.split()[2:3], "on", "cpu,", "in", "float32"]
    assert re.fullmatch(r"auto      \w+, in float32: the fastest that works here", lines[-1])


def test_cache_folder(tiny_bundle, capsys, monkeypatch, tmp_path):
    for value, expected in (
        (str(tmp_path), str(tmp_path)),
        ("", "none (FLOWNET_ENGINE_CACHE is empty"),
    ):
        monkeypatch.setenv("FLOWNET_ENGINE_CACHE", value)
        main(["doctor", "--bundle", str(tiny_bundle), "--threads", "1"])
        (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("cache "))
        assert line.split(maxsplit=1)[1].startswith(expected)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_not_utf8(tiny_bundle, tmp_path, capsys):
    bundle = tmp_path / os.fsdecode(b"b\xff")
    assert main(["doctor", "--bundle", str(bundle)]) == 1
    shutil.copytree(tiny_bundle, bundle)
    assert main(["doctor", "--bundle", str(bundle), "--threads", "1"]) == 0
    assert r"b\udcff" in capsys.readouterr().out.encode().decode()


def test_without_a_bundle(tmp_path, capsys):
    assert main(["doctor", "--bundle", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert f"bundle    {tmp_path} is not a bundle" in output
    assert "backends  not tried: they need a bundle" in output


def test_when_no_backend_opens(monkeypatch, tiny_bundle, capsys):
    for module in ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["doctor", "--bundle", str(tiny_bundle)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "auto      nothing runs here"


@pytest.fixture
def report(tiny_bundle, capsys):
    assert main(["doctor", "--json", "--bundle", str(tiny_bundle), "--threads", "1"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json(report, tiny_bundle):
    assert list(report) == [
        "engine", "python", "platform", "packages", "cpu", "gpus", "cache", "refinement",
        "bundle", "backends", "auto", "libraries",
    ]  # fmt: skip
    assert report["engine"]["version"] == engine.__version__
    assert report["packages"].keys() >= {"numpy", "onnxruntime"}
    assert report["bundle"]["path"] == str(tiny_bundle)
    (file,) = report["bundle"]["files"].values()
    assert (file["role"], file["precision"]) == ("network", "fp32")
    assert report["backends"]["onnxruntime"]["device"] == "cpu"
    assert report["auto"] in ("openvino", "onnxruntime")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/maps is Linux's")
def test_loaded_libraries_are_those_of_the_process(report):
    assert any("onnxruntime" in path and Path(path).is_file() for path in report["libraries"])


def test_each_probe_is_guarded(monkeypatch, tiny_bundle):
    """None in sys.modules is an import error, as of a package that is broken."""
    for module in ("engine.system.cpu", "engine.system.cache", "engine.bundle.signature"):
        monkeypatch.setitem(sys.modules, module, None)
    broken = collect(tiny_bundle, device=0, threads=1)
    for key in ("cpu", "gpus", "cache", "bundle"):
        assert "import of engine." in broken[key]["error"], key
    assert (broken["backends"], broken["auto"]) == ({}, None)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "engine.backends.registry", None)
    broken = collect(tiny_bundle, device=0, threads=1)
    assert "import of engine." in broken["backends"]["registry"]["error"]
    assert broken["auto"] is None
    assert broken["engine"]["version"] == engine.__version__


def test_only_the_standard_library_is_imported():
    code = (
        "import sys, types; package = types.ModuleType('engine')\n"
        "package.__path__ = ['engine']; sys.modules['engine'] = package\n"
        "import engine.cli.doctor\n"
        "names = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "assert names <= {'engine', '__main__'} | {n for n in names if n.startswith('_')}, names"
    )
    root = Path(engine.__file__).parents[1]
    command = [sys.executable, "-S", "-c", code]
    subprocess.run(command, cwd=root, check=True)
