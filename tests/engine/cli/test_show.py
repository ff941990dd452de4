"""``flow show``."""

import sys

import numpy as np
import pytest

from engine.cli.main import main
from engine.flow.colour import flow_to_color
from engine.flow.formats import write_flow
from engine.images import read_image


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two flows in a folder and one beside it, of magnitudes 5, 0.1 and 3 px."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    five = np.full((20, 30, 2), (3, -4), np.float32)
    five[:2] = np.nan
    write_flow("flows/f2.flo", five)
    write_flow("flows/f10.npz", np.full((20, 30, 2), (0.1, 0), np.float32))
    write_flow("other.png", np.full((10, 10, 2), (0, 3), np.float32))


def show(capsys, *arguments):
    code = main(["show", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_numbers_and_histogram(files, capsys):
    code, out, err = show(capsys, "flows", "other.png")
    assert (code, err) == (0, "")
    table, histogram = out.split("\n\n")
    assert [line.split() for line in table.splitlines()] == [
        ["flow", "size", "min", "px", "mean", "px", "max", "px", "unknown"],
        ["flows/f2.flo", "20x30", "5.00", "5.00", "5.00", "10.0", "%"],
        ["flows/f10.npz", "20x30", "0.10", "0.10", "0.10", "0.0", "%"],
        ["other.png", "10x10", "3.00", "3.00", "3.00", "0.0", "%"],
        # (540 * 5 + 600 * 0.1 + 100 * 3) / 1240 = 2.468; 60 of 1300 pixels are unknown
        ["all", "3", "0.10", "2.47", "5.00", "4.6", "%"],
    ]
    shares = [line.partition(" px ")[::2] for line in histogram.splitlines()[1:]]
    found = {name.strip(): rest.split()[0] for name, rest in shares}
    assert {name: share for name, share in found.items() if share != "0.0"} == {
        "0 to 0.25": "48.4",  # 600 of 1240
        "2 to 4": "8.1",
        "4 to 8": "43.5",
    }
    assert list(found)[-1] == "4 to 8"


def test_pictures_share_a_scale(files, capsys):
    code, out, _ = show(capsys, "flows", "other.png", "-o", "pictures")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("full colour at "))
    scale = float(line.split()[3])
    assert 4.99 <= scale < 5.12  # the 99th percentile is 5 px
    assert out.splitlines()[-3:] == [
        f"wrote pictures/{name}.png" for name in ("f2", "f10", "other")
    ]
    for name, vector in (("f2", (3, -4)), ("f10", (0.1, 0)), ("other", (0, 3))):
        expected = flow_to_color(np.array([[vector]], np.float32), max_magnitude=scale)[0, 0]
        picture = read_image(f"pictures/{name}.png")
        np.testing.assert_array_equal(picture[-1, -1], expected)
    assert not read_image("pictures/f2.png")[:2].any()  # unknown


def test_a_still_scene_is_pale(files, capsys):
    code, out, _ = show(capsys, "flows/f10.npz", "-o", "picture.png")
    assert code == 0
    assert "full colour at 1 px" in out
    assert read_image("picture.png").min() > 220


def test_legend_and_histogram(files, capsys):
    write_flow("large.flo", np.full((240, 320, 2), (1, 1), np.float32))
    plain = ["large.flo", "--scale", 2, "--no-legend"]
    assert show(capsys, *plain, "-o", "plain.png")[0] == 0
    assert show(capsys, "large.flo", "--scale", 2, "--histogram", "-o", "full.png")[0] == 0
    without, picture = read_image("plain.png"), read_image("full.png")
    assert without.shape == (240, 320, 3)
    assert len(np.unique(without.reshape(-1, 3), axis=0)) == 1
    changed = (picture[:240] != without).any(axis=-1)
    assert changed[-20, -20]  # the legend
    assert not changed[:150].any()
    # One class, 1 to 2 px: one bar.
    assert picture.shape == (240 + 2 * 18, 320, 3)
    bar = (picture[240:] == 90).all(axis=-1)
    assert np.count_nonzero(bar.any(axis=1)) == 12


def test_stdin_and_stdout(files, monkeypatch, capfdbinary):
    monkeypatch.setattr(sys, "stdin", open("flows/f2.flo"))  # noqa: SIM115
    assert main(["show", "-", "-o", "-"]) == 0
    printed = capfdbinary.readouterr()
    assert printed.out.startswith(b"\x89PNG")
    assert printed.err.splitlines()[1].startswith(b"stdin  20x30")


def test_unknown_everywhere(files, capsys):
    write_flow("nothing.flo", np.full((4, 5, 2), np.nan, np.float32))
    code, out, _ = show(capsys, "nothing.flo", "-o", "nothing.png")
    assert code == 0
    assert out.splitlines()[1].split() == ["nothing.flo", "4x5", "-", "-", "-", "100.0", "%"]
    assert not read_image("nothing.png").any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.flo"], "none.flo does not exist; expected a flow file."),
        (["photo.jpg"], "photo.jpg: '.jpg' is a format of pictures; expected one of flow: .flo, "),
        (["empty"], "empty contains no flow file; expected some: .flo, .pfm"),
        (["other.png", "-o", "other.png"], "other.png is also an input"),
        (["other.png", "-o", "no/a.png"], "no is not a folder. Create it."),
        (["other.png", "-o", "a.xyz"], "'.xyz' is not a format for colour pictures"),
        (["other.png", "-o", "photo.jpg"], "photo.jpg exists; expected a new name"),
        (["flows", "-o", "a.png"], "a.png is the name of a file; expected that of a folder"),
        (["flows", "-o", "photo.jpg"], "photo.jpg is a file; expected a folder"),
        (["flows", "-o", "-"], "- is stdout; expected a folder"),
        (["flows", "-o", "no/a"], "no is not a folder. Create it."),
        (["flows/f2.flo", "copy/f2.npy", "-o", "p"], "p/f2.png is also another output"),
        (["-", "other.png"], "- and other files were given; expected stdin alone"),
        (["other.png", "--histogram"], "--histogram is drawn into a picture; expected -o too"),
    ],
)
def test_bad_arguments(files, tmp_path, capsys, arguments, message):
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    for name in ("empty", "copy"):
        (tmp_path / name).mkdir()
    write_flow("copy/f2.npy", np.zeros((2, 2, 2), np.float32))
    before = sorted(tmp_path.rglob("*"))
    code, out, err = show(capsys, *arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("flow: ")
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before
