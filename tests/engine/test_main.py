import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.__main__ import main
from engine.flow.formats import read_flow
from engine.images import read_image, write_image

ROOT = Path(engine.__file__).parents[1]


@pytest.fixture
def pictures(tmp_path, rng):
    """Two small pictures on disk: their paths and their pixels."""
    images = rng.integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    paths = [str(tmp_path / name) for name in ("first.png", "second.png")]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image)
    return paths, images


def infer(paths, bundle, *arguments):
    command = ["infer", *paths, "--bundle", str(bundle), "--backend", "onnxruntime"]
    return main([*command, "--threads", "1", *map(str, arguments)])


@pytest.mark.parametrize("name", ["flow.flo", "flow.png", "flow.npy"])
def test_infer_writes_the_flow(pictures, tiny_bundle, tiny_flow, tmp_path, capsys, name):
    paths, images = pictures
    assert infer(paths, tiny_bundle, "-o", tmp_path / name) == 0
    expected = tiny_flow(*images)
    flow, valid = read_flow(tmp_path / name)
    assert valid.all()
    np.testing.assert_allclose(flow, expected, atol=1 / 64)
    summary, written = capsys.readouterr().out.splitlines()
    mean = np.linalg.norm(expected, axis=-1).mean()
    assert summary.startswith(f"50x70, mean {mean:.2f} px, largest ")
    assert summary.endswith("tiny fp32, onnxruntime on cpu")
    assert written == f"wrote {tmp_path / name}"


def test_infer_draws_the_flow(pictures, tiny_bundle, tmp_path):
    picture = tmp_path / "picture.png"
    assert infer(pictures[0], tiny_bundle, "--picture", picture) == 0
    assert read_image(picture).shape == (50, 70, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": "missing.png"}, "missing.png does not exist; expected a picture"),
        ({"bundle": "nowhere"}, "nowhere is not a bundle: it is not a folder"),
        ({"backend": "onnx"}, "unknown backend 'onnx'; expected one of"),
        ({"output": "flow.xyz"}, "unknown flow format '.xyz'"),
        ({"output": "no/such/folder/flow.flo"}, "no/such/folder is not a folder. Create it"),
        ({"threads": "0"}, "threads is 0; expected a number from 1 up"),
    ],
)
def test_errors_are_one_line(pictures, tiny_bundle, tmp_path, capsys, change, message):
    choice = {
        "first": pictures[0][0],
        "bundle": str(tiny_bundle),
        "backend": "onnxruntime",
        "output": "flow.flo",
        "threads": "1",
    } | change
    command = ["infer", choice["first"], pictures[0][1], "-o", str(tmp_path / choice["output"])]
    options = [f"--{name}={choice[name]}" for name in ("bundle", "backend", "threads")]
    code = main([*command, *options])
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flow: ")
    assert message in line
    assert not (tmp_path / choice["output"]).exists()


@pytest.mark.parametrize(
    ("output", "picture", "message"),
    [
        ("flow.png", "flow.png", "flow.png is also the other output"),
        ("flow.png", "link/flow.png", "flow.png is also the other output"),
        ("first.png", None, "first.png is also an input"),
        (None, "link/second.png", "second.png is also an input"),
        ("flow.xyz", "flow.png", "unknown flow format '.xyz'"),
        ("flow.flo", "flow.xyz", "'.xyz' is not a format for colour pictures"),
        ("flow.flo", "missing/flow.png", "missing is not a folder. Create it"),
    ],
)
def test_outputs_are_checked_first(
    pictures, tmp_path, monkeypatch, capsys, output, picture, message
):
    monkeypatch.setattr("engine.__main__.read_image", lambda path: pytest.fail(f"read {path}"))
    (tmp_path / "link").symlink_to(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    options = [("-o", output), ("--picture", picture)]
    flags = [part for flag, name in options if name for part in (flag, tmp_path / name)]
    assert infer(pictures[0], "no-bundle", *flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_a_closed_stdout_loses_no_file(pictures, tiny_bundle, tmp_path, monkeypatch):
    read_end, write_end = os.pipe()
    os.close(read_end)
    outputs = tmp_path / "flow.flo", tmp_path / "picture.png"
    with open(write_end, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
        assert infer(pictures[0], tiny_bundle, "-o", outputs[0], "--picture", outputs[1]) == 1
    assert all(path.stat().st_size for path in outputs)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_not_utf8(pictures, tiny_bundle, tmp_path, capsys):
    output = tmp_path / os.fsdecode(b"flow\xff.flo")
    assert infer(pictures[0], tiny_bundle, "-o", output) == 0
    assert capsys.readouterr().out.endswith("flow\\udcff.flo\n")
    assert output.exists()


def test_sizes_must_agree(pictures, tiny_bundle, tmp_path, capsys):
    write_image(pictures[0][1], np.zeros((50, 71, 3), np.uint8))
    assert infer(pictures[0], tiny_bundle, "-o", tmp_path / "flow.flo") == 1
    assert "image1 has shape (50, 70, 3) and image2 (50, 71, 3)" in capsys.readouterr().err


def test_nothing_to_write(pictures, tiny_bundle, capsys):
    assert infer(pictures[0], tiny_bundle) == 1
    assert "expected -o FILE, --picture FILE or both" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["inferr"], ["infer", "a.png"], ["doctor", "--x"]])
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: flow" in capsys.readouterr().err


def test_doctor(tiny_bundle, capsys):
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
    assert cpu.split()[1:] == ["yes", *cpu.split()[2:3], "on", "cpu"]
    assert lines[-1].startswith("auto      ")


def test_doctor_says_where_the_cache_is(tiny_bundle, capsys, monkeypatch, tmp_path):
    for value, expected in ((str(tmp_path), str(tmp_path)), ("", "none (FLOWNET_ENGINE_CACHE ")):
        monkeypatch.setenv("FLOWNET_ENGINE_CACHE", value)
        main(["doctor", "--bundle", str(tiny_bundle), "--threads", "1"])
        (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("cache "))
        assert line.split(maxsplit=1)[1].startswith(expected)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threads", "0", "threads is 0; expected a number from 1 up"),
        ("--device", "-1", "device is -1; expected the index of a GPU"),
    ],
)
def test_doctor_refuses_what_load_refuses(tiny_bundle, capsys, option, value, message):
    assert main(["doctor", "--bundle", str(tiny_bundle), option, value]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_doctor_prints_names_that_are_not_utf8(tiny_bundle, tmp_path, capsys):
    bundle = tmp_path / os.fsdecode(b"b\xff")
    assert main(["doctor", "--bundle", str(bundle)]) == 1
    shutil.copytree(tiny_bundle, bundle)
    assert main(["doctor", "--bundle", str(bundle), "--threads", "1"]) == 0
    assert r"b\udcff" in capsys.readouterr().out.encode().decode()


def test_an_error_ends_as_a_sentence_does(pictures, tiny_bundle, tmp_path, capsys):
    assert infer(pictures[0], tiny_bundle, "-o", tmp_path / "flow.fl") == 1
    assert capsys.readouterr().err.endswith("Did you mean '.flo'?\n")


def test_doctor_without_a_bundle(tmp_path, capsys):
    assert main(["doctor", "--bundle", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert f"bundle    {tmp_path} is not a bundle" in output
    assert "backends  not tried: they need a bundle" in output


def test_doctor_when_nothing_opens(monkeypatch, tiny_bundle, capsys):
    for module in ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["doctor", "--bundle", str(tiny_bundle)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "auto      nothing runs here"


def test_module_runs(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "engine", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run("--version").stdout.strip() == engine.__version__
    failed = run("infer", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", "flow.flo")
    assert failed.returncode == 1
    assert (
        failed.stderr
        == f"flow: {tmp_path}/a.png does not exist; expected a picture, e.g. a "
        + (".png or .jpg.\n")
    )
