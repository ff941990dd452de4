"""``flow convert``."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.cli.main import main
from engine.flow.formats import FLOW_SUFFIXES, read_flow, write_flow


@pytest.fixture
def flow(tmp_path, monkeypatch, rng):
    """The flow of ``a.flo``, with one unknown pixel; the working folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    flow = rng.normal(0, 20, (6, 7, 2)).astype(np.float32)
    flow[2, 3] = np.nan
    write_flow("a.flo", flow)
    return flow


def convert(capsys, *arguments):
    code = main(["convert", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("suffix", FLOW_SUFFIXES)
def test_each_format_there_and_back(flow, capsys, suffix):
    code, out, _ = convert(capsys, "a.flo", f"b{suffix}")
    assert code == 0
    assert convert(capsys, f"b{suffix}", "c.npy")[0] == 0
    error = np.nanmax(np.abs(np.load("c.npy") - flow))
    np.testing.assert_array_equal(np.isnan(np.load("c.npy")), np.isnan(flow))
    if suffix == ".png":
        assert 0 < error <= 1 / 128
        assert out == f"wrote b.png: at most {error:.2g} px off\n"
    else:
        assert error == 0
        assert out == f"wrote b{suffix}: exact\n"


def test_a_folder_keeps_its_structure(flow, capsys):
    os.makedirs("flows/scene")
    for number in (1, 2, 10):
        write_flow(f"flows/f{number}.flo", flow * number)
    write_flow("flows/scene/f1.pfm", flow)
    code, out, _ = convert(capsys, "flows", "out", "--format", ".npz")
    assert (code, out) == (0, "wrote 4 flows to out: exact\n")
    np.testing.assert_array_equal(read_flow("out/f10.npz")[0], flow * 10)
    np.testing.assert_array_equal(read_flow("out/scene/f1.npz")[0], flow)


def test_one_format_of_a_folder(flow, capsys):
    os.mkdir("frames")
    write_flow("frames/f1.flo", flow)
    Path("frames/f1.png").write_bytes(b"a picture of the video")
    code, _, err = convert(capsys, "frames", "out", "--format", ".npy")
    assert code == 1
    assert "frames contains f1.flo and f1.png; expected one flow of each name" in err
    assert "--from .png" in err
    assert convert(capsys, "frames", "out", "--format", "npy", "--from", "flo")[0] == 0
    assert os.listdir("out") == ["f1.npy"]


def test_flow_beyond_the_png_is_refused_or_limited(flow, capsys):
    wide = np.full((2, 3, 2), 5, np.float32)
    wide[0, 0], wide[1, 2], wide[1, 1] = (600, 0), (-513, 900), (511.98, -512)
    write_flow("wide.flo", wide)
    code, _, err = convert(capsys, "wide.flo", "wide.png")
    assert code == 1
    assert "wide.flo has 2 pixels beyond -512 to 511.98 px" in err
    assert "limit them by --clip" in err
    assert not os.path.exists("wide.png")
    code, out, _ = convert(capsys, "wide.flo", "wide.png", "--clip")
    assert code == 0
    assert "; 2 pixels limited to -512 to 511.98 px" in out
    np.testing.assert_allclose(read_flow("wide.png")[0][0, 0], (511.984375, 0))
    np.testing.assert_allclose(read_flow("wide.png")[0][1, 2], (-512, 511.984375))


def test_stdin_and_stdout(flow, monkeypatch, capfdbinary):
    monkeypatch.setattr(sys, "stdin", open("a.flo"))  # noqa: SIM115
    assert main(["convert", "-", "-", "--format", ".npy"]) == 0
    printed = capfdbinary.readouterr()
    assert printed.err == b"wrote stdout: exact\n"
    with open("out.npy", "wb") as file:
        file.write(printed.out)
    np.testing.assert_array_equal(np.load("out.npy"), flow)


def test_unknown_everywhere_is_noted(flow, capsys, caplog):
    write_flow("nothing.flo", np.full((4, 5, 2), np.nan, np.float32))
    code, _, err = convert(capsys, "nothing.flo", "nothing.png")
    assert (code, err) == (0, "")
    assert "nothing.flo: the flow is unknown at every pixel" in caplog.text


def test_force(flow, capsys):
    write_flow("b.npy", flow * 2)
    assert convert(capsys, "a.flo", "b.npy", "--force")[0] == 0
    np.testing.assert_array_equal(np.load("b.npy"), flow)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.flo", "b.npy"], "none.flo does not exist; expected a flow file."),
        (["a.flo", "a.flo"], "a.flo is also an input; expected another name"),
        (["a.flo", "link/a.flo", "--force"], "a.flo is also an input; expected another name"),
        (["a.flo", "old.npy"], "old.npy exists; expected a new name. Give another, or --force"),
        (["a.flo", "folder", "--format", ".npy"], "folder/a.npy exists; expected a new name"),
        (["a.flo", "b.xyz"], "b.xyz: unknown flow format '.xyz', expected one of .flo"),
        (["a.flo", "b.jpg"], "b.jpg: '.jpg' is a format of pictures; expected one of flow: .flo, "),
        (["a.flo", "b", "--format", ".npy"], "the format of one file; expected b.npy."),
        (["a.flo", "no/b.npy"], "no/b.npy cannot be written: no is not a folder. Create it."),
        (["a.flo", "b.npy", "--format", ".pfm"], "b.npy is not .pfm; expected one format"),
        (["a.flo", "-"], "stdout has no format; expected --format, e.g. .flo."),
        (["folder", "b.npy"], "b.npy is the name of a file; expected that of a folder"),
        (["folder", "out"], "out has no format; expected --format, e.g. .flo."),
        (["folder", "old.npy", "--format", ".flo"], "old.npy is a file; expected a folder."),
        (["folder", "-", "--format", ".flo"], "- is stdout; expected a folder."),
        (["picture.png", "b.npy"], "8 bits, colour type 2, interlace 0; expected 16 bits"),
        (["short.flo", "b.npy"], "short.flo: contains 100 bytes of data, expected 336 from its"),
        (["empty.flo", "b.npy"], "empty.flo: is empty; expected a flow."),
        (["wrong.npy", "b.npy"], "It looks like a .flo file: rename it."),
        (["big.flo", "b.npy"], "big.flo: is a 7x6 flow in big-endian byte order; expected little"),
    ],
)
def test_bad_arguments_leave_nothing(flow, tmp_path, capsys, arguments, message):
    import cv2

    data = (tmp_path / "a.flo").read_bytes()
    os.mkdir("folder")
    os.symlink(".", "link")
    for name in ("old.npy", "folder/a.npy"):
        np.save(name, flow)
    cv2.imwrite("picture.png", np.zeros((6, 7, 3), np.uint8))
    big = data[:4] + np.frombuffer(data[4:], "<u4").astype(">u4").tobytes()
    for name, content in (
        ("short.flo", data[:112]), ("empty.flo", b""), ("wrong.npy", data), ("big.flo", big)
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = convert(capsys, *arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("flow: ")
    assert message in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_full_disk(flow, capsys):
    os.symlink("/dev/full", "b.npy")
    code, _, err = convert(capsys, "a.flo", "b.npy")
    assert (code, err) == (
        1,
        "flow: b.npy: No space left on device. Free space on the disk, or write elsewhere.\n",
    )
