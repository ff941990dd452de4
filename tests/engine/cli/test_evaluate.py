"""``flow eval``."""

import json
import os
import sys

import numpy as np
import pytest

from engine.cli.main import main
from engine.flow.formats import write_flow

# Thresholds of 0.05 to 5 px, of weights 100 to 1. An error of 2 px is within the 40th and the rest,
# 61 of them; one of 4 px within 21; 0 px within all; 6 and 10 px within none.
WAUC = 100 / 5 * (100 * 101 + 61 * 62 + 21 * 22) / (100 * 101)


@pytest.fixture
def flows(tmp_path, monkeypatch):
    """Predictions and true flows of four and of two pixels.

    Errors and true motion of ``f1``: 0 and 5 px, 2 and 5 px, 4 and 20 px, unknown; of ``f2``: 10
    and 100 px, 6 and 150 px.
    """
    monkeypatch.chdir(tmp_path)
    for folder in ("pred", "truth"):
        os.mkdir(folder)
    nan = np.nan
    pairs = {
        "f1": ([[3, 4], [3, 6], [20, 4], [9, 9]], [[3, 4], [3, 4], [20, 0], [nan, nan]]),
        "f2": ([[110, 0], [150, 6]], [[100, 0], [150, 0]]),
    }
    for name, (predicted, true) in pairs.items():
        write_flow(f"pred/{name}.flo", np.array([predicted], np.float32))
        write_flow(f"truth/{name}.png", np.array([true], np.float32))


def evaluate(capsys, *arguments):
    code = main(["eval", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_table_of_two_folders(flows, capsys):
    code, out, err = evaluate(capsys, "pred", "truth")
    assert (code, err) == (0, "")
    heading, units, *rows = (line.split() for line in out.splitlines())
    assert heading == [
        "EPE",
        "1",
        "px",
        "3",
        "px",
        "5",
        "px",
        "Fl-all",
        "WAUC",
        "s0-10",
        "s10-40",
        "s40+",
    ]
    assert units == ["px", "%", "%", "%", "%", "%", "px", "px", "px"]
    # Without WAUC, which tests/engine/flow/test_regions.py is about.
    without_wauc = [[*row[:-4], *row[-3:]] for row in rows]
    assert without_wauc[3][:3] == ["mean", "of", "2"]
    without_wauc[3] = without_wauc[3][3:]
    assert without_wauc == [
        ["f1", "2.00", "66.67", "33.33", "0.00", "33.33", "1.00", "4.00", "-"],
        # An error of 6 px is below 5 % of 150 px: no outlier.
        ["f2", "8.00", "100.00", "100.00", "100.00", "50.00", "-", "-", "8.00"],
        ["all", "pixels", "4.40", "80.00", "60.00", "40.00", "40.00", "1.00", "4.00", "8.00"],
        ["images", "5.00", "83.33", "66.67", "50.00", "41.67", "1.00", "4.00", "8.00"],
    ]


def test_json(flows, capsys):
    write_flow("pred/only.flo", np.zeros((1, 1, 2), np.float32))
    code, out, err = evaluate(capsys, "pred", "truth", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["per_pixel"]["all"] == pytest.approx(
        {"pixels": 5, "epe": 4.4, "px1": 80, "px3": 60, "px5": 40, "fl": 40, "wauc": WAUC}
    )
    assert found["per_image"]["all"]["epe"] == pytest.approx(5)
    assert found["per_image"]["s40+"]["epe"] == pytest.approx(8)  # of the one image that has any
    assert [image["name"] for image in found["images"]] == ["f1", "f2"]
    assert found["images"][1]["s0-10"]["epe"] is None
    assert found["unmatched"] == {"pred": ["only"], "truth": []}
    assert err == "flow: note: only in pred, left out: only (1)\n"


def test_a_file_and_stdin(flows, monkeypatch, capsys):
    code, out, _ = evaluate(capsys, "pred/f1.flo", "truth/f1.png")
    assert code == 0
    assert out.splitlines()[-1].split()[:2] == ["pred/f1.flo", "2.00"]
    monkeypatch.setattr(sys, "stdin", open("pred/f1.flo"))  # noqa: SIM115
    code, out, _ = evaluate(capsys, "-", "truth/f1.png")
    assert code == 0
    assert out.splitlines()[-1].split()[:2] == ["stdin", "2.00"]


def test_missing_predictions_do_not_count(flows, capsys):
    write_flow("partly.flo", np.array([[[3, 4], [np.nan] * 2, [20, 0], [0, 0]]], np.float32))
    code, out, err = evaluate(capsys, "partly.flo", "truth/f1.png")
    assert code == 0
    assert out.splitlines()[-1].split()[:2] == ["partly.flo", "0.00"]
    assert err == "flow: note: 1 pixels with true flow have no prediction, left out\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "truth"], "none does not exist; expected a flow file or a folder of them."),
        (["pred", "truth/f1.png"], "pred is a folder and truth/f1.png is not; expected two"),
        (["pred/f1.flo", "-"], "GT is -; expected a file or a folder"),
        (["pred", "other"], "have no file name in common (f1 and g1, for example)"),
        (["pred", "truth", "--from", ".png"], "pred contains no flow file; expected some: .png"),
        (["pred/f1.flo", "truth/f2.png"], "pred/f1.flo is 1x4 and truth/f2.png is 1x2"),
        (["nan.flo", "truth/f1.png"], "nan.flo is unknown everywhere; expected a flow."),
        (["apart.flo", "truth/f1.png"], "are known at different pixels only"),
    ],
)
def test_bad_arguments(flows, capsys, arguments, message):
    os.mkdir("other")
    write_flow("other/g1.flo", np.zeros((1, 4, 2), np.float32))
    nothing = np.full((1, 4, 2), np.nan, np.float32)
    write_flow("nan.flo", nothing)
    nothing[0, 3] = 0
    write_flow("apart.flo", nothing)
    code, out, err = evaluate(capsys, *arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("flow: ")
    assert message in line
