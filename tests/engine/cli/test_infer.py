"""``flow infer``."""

import io
import json
import os
import sys

import cv2
import numpy as np
import pytest

import engine
from engine.cli.main import main
from engine.flow.colour import flow_to_color
from engine.flow.formats import read_flow
from engine.images import read_image, read_images, write_image


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
def test_flow_file(pictures, tiny_bundle, tiny_flow, tmp_path, capsys, name):
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


def test_picture_of_the_flow(pictures, tiny_bundle, tiny_flow, tmp_path):
    picture = tmp_path / "picture.png"
    assert infer(pictures[0], tiny_bundle, "--picture", picture, "--scale", 40) == 0
    expected = flow_to_color(tiny_flow(*pictures[1]), max_magnitude=40)
    # Too small for the legend. The flow is float32, so that a level may be rounded otherwise.
    assert np.abs(read_image(picture).astype(int) - expected).max() <= 1


def test_force_overwrites(pictures, tiny_bundle, tmp_path):
    output = tmp_path / "flow.flo"
    output.write_bytes(b"old")
    assert infer(pictures[0], tiny_bundle, "-o", output, "--force") == 0
    assert read_flow(output)[0].shape == (50, 70, 2)


def test_json_summary(pictures, tiny_bundle, tiny_flow, tmp_path, capsys):
    output = tmp_path / "flow.npy"
    assert infer(pictures[0], tiny_bundle, "-o", output, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    lengths = np.linalg.norm(tiny_flow(*pictures[1]), axis=-1)
    assert summary == {
        "height": 50,
        "width": 70,
        "mean_px": pytest.approx(lengths.mean(), rel=1e-4),
        "largest_px": pytest.approx(lengths.max(), rel=1e-4),
        "network": "tiny",
        "precision": "fp32",
        "backend": "onnxruntime",
        "device": "cpu",
        "written": [str(output)],
    }


def test_stdin_and_stdout(pictures, tiny_bundle, tiny_flow, monkeypatch, capfdbinary):
    (first, second), images = pictures
    monkeypatch.setattr(sys, "stdin", open(second))  # noqa: SIM115
    assert infer([first, "-"], tiny_bundle, "-o", "-", "--format", ".npy") == 0
    captured = capfdbinary.readouterr()
    flow = np.load(io.BytesIO(captured.out))
    np.testing.assert_allclose(flow, tiny_flow(*images), atol=1e-4)
    assert captured.err.startswith(b"50x70, mean ")
    assert infer([first, second], tiny_bundle, "--picture", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")


def test_levels_of_16_bit_pictures(pictures, tiny_bundle, tiny_flow, tmp_path, capsys):
    paths, images = pictures
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(path, 51000 + image[..., ::-1].astype(np.uint16))
    output = tmp_path / "flow.npy"
    assert infer(paths, tiny_bundle, "-o", output) == 1
    assert "--levels LOW:HIGH of the command, e.g. 5100" in capsys.readouterr().err
    assert infer(paths, tiny_bundle, "-o", output, "--levels", "51000:51255") == 0
    np.testing.assert_allclose(np.load(output), tiny_flow(*images), atol=1e-4)
    assert infer(paths, tiny_bundle, "-o", output, "--levels", "percentile", "--force") == 0
    expected = tiny_flow(*read_images(paths, levels="percentile"))
    np.testing.assert_allclose(np.load(output), expected, atol=1e-4)
    for levels in ("1", "9:8", "1:x", "percent", "1:nan", "1:2:3"):
        assert infer(paths, tiny_bundle, "-o", output, "--levels", levels) == 2
        assert "are no levels; expected LOW:HIGH, e.g. 0:4095, or perc" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (["-", "-"], ["-o", "flow.flo"], "both images are -; stdin has one"),
        ([], ["-o", "-", "--json"], "--json and - both write to stdout"),
        ([], ["-o", "-", "--picture", "-"], "- is also another output"),
        ([], ["-o", "flow.flo", "--format", ".flo"], "--format is for -o -"),
    ],
)
def test_streams_are_checked(pictures, capsys, images, options, message):
    assert infer(images or pictures[0], "no-bundle", *options) == 1
    assert message in capsys.readouterr().err


def test_an_empty_stdin(pictures, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115
    assert infer([pictures[0][0], "-"], "no-bundle", "-o", "-") == 1
    assert "stdin is empty; expected a picture" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_full_disk(pictures, tiny_bundle, tmp_path, capsys):
    output = tmp_path / "flow.flo"
    output.symlink_to("/dev/full")
    assert infer(pictures[0], tiny_bundle, "-o", output) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"flow: {output}: No space left on device. Free space on the disk")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": "missing.png"}, "missing.png does not exist; expected a picture"),
        ({"bundle": "nowhere"}, "nowhere is not a bundle: it is not a folder"),
        ({"output": "flow.xyz"}, "unknown flow format '.xyz'"),
        ({"output": "no/such/folder/flow.flo"}, "no/such/folder is not a folder. Create it"),
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
        ("flow.png", "flow.png", "flow.png is also another output"),
        ("flow.png", "link/flow.png", "flow.png is also another output"),
        ("first.png", None, "first.png is also an input"),
        (None, "link/second.png", "second.png is also an input"),
        ("flow.xyz", "flow.png", "unknown flow format '.xyz'"),
        ("flow.flo", "flow.xyz", "'.xyz' is not a format for colour pictures"),
        ("flow.flo", "missing/flow.png", "missing is not a folder. Create it"),
        ("old.flo", None, "old.flo exists; expected a new name. Give another, or --force to"),
        ("link", None, "link has no suffix, which tells the format; expected one of .flo"),
        ("folder.flo", None, "folder.flo is a folder; expected the name of a file"),
    ],
)
def test_outputs_are_checked_before_inputs_are_read(
    pictures, tmp_path, monkeypatch, capsys, output, picture, message
):
    monkeypatch.setattr("engine.cli.infer.read_picture", lambda path: pytest.fail(f"read {path}"))
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "folder.flo").mkdir()
    (tmp_path / "old.flo").write_bytes(b"old")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    options = [("-o", output), ("--picture", picture)]
    flags = [part for flag, name in options if name for part in (flag, tmp_path / name)]
    assert infer(pictures[0], "no-bundle", *flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    after = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
    assert after == before


def test_a_closed_stdout_loses_no_file(pictures, tiny_bundle, tmp_path, monkeypatch, capfd):
    read_end, write_end = os.pipe()
    os.close(read_end)
    outputs = tmp_path / "flow.flo", tmp_path / "picture.png"
    with open(write_end, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
        assert infer(pictures[0], tiny_bundle, "-o", outputs[0], "--picture", outputs[1]) == 1
    assert capfd.readouterr().err == ""
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
    assert "first.png is 50x70 and " in (error := capsys.readouterr().err)
    assert "second.png is 50x71; expected one size. Crop or resize one of them." in error


def test_flow_that_is_no_number_is_not_written(
    pictures, tiny_bundle, tmp_path, monkeypatch, capsys
):
    def run_nan(self, first, second):
        flow = np.zeros((*first.shape[:3], 2), np.float32)
        flow[0, 3, 4:6] = np.nan
        return flow

    monkeypatch.setattr("engine.backends.onnx_graphs.CpuBackend.run", run_nan)
    assert infer(pictures[0], tiny_bundle, "-o", tmp_path / "flow.flo") == 1
    assert "the flow of 2 of 3500 pixels is NaN or infinite; expected" in capsys.readouterr().err
    assert not (tmp_path / "flow.flo").exists()


def test_nothing_to_write(pictures, tiny_bundle, capsys):
    assert infer(pictures[0], tiny_bundle) == 1
    assert "expected -o FILE, --picture FILE or both" in capsys.readouterr().err


def test_errors_are_sentences(pictures, tiny_bundle, tmp_path, capsys):
    assert infer(pictures[0], tiny_bundle, "-o", tmp_path / "flow.fl") == 1
    assert capsys.readouterr().err.endswith("Did you mean '.flo'?\n")


def test_flow_is_refined(pictures, tiny_bundle, tmp_path, capsys):
    paths, images = pictures
    with engine.load(tiny_bundle, threads=1, refine="variational") as loaded:
        expected = loaded.infer(*images)
    assert infer(paths, tiny_bundle, "-o", tmp_path / "flow.npy", "--refine", "variational") == 0
    np.testing.assert_allclose(np.load(tmp_path / "flow.npy"), expected, atol=1e-4)
    assert "onnxruntime (refined) on cpu" in capsys.readouterr().out


def test_motion_is_compensated(pictures, tiny_bundle, tmp_path, capsys):
    paths, images = pictures
    with engine.load(tiny_bundle, threads=1, compensate_motion=True) as loaded:
        expected = loaded.infer(*images)
    for flag, note in (("--compensate-motion", ""), ("--align", "use --compensate-motion")):
        assert infer(paths, tiny_bundle, "-o", tmp_path / "flow.npy", flag, "--force") == 0
        np.testing.assert_allclose(np.load(tmp_path / "flow.npy"), expected, atol=1e-4)
        captured = capsys.readouterr()
        assert "onnxruntime (motion compensated) on cpu" in captured.out
        assert note in captured.err
        assert captured.err.count("\n") == bool(note)
