"""``python -m bench.storage``."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.storage.compare import main
from bench.storage.measure import measure
from bench.storage.methods import STEPS, methods
from bench.storage.table import COLUMNS, rows
from engine.images import write_image

# Largest error in pixels that each method promises for flow of at most 32 px; half a step, and for
# half-precision floats half the distance of neighbours between 16 and 32.
BOUNDS = {
    ".flo": 0,
    "KITTI .png": 1 / 128,
    ".npz": 0,
    ".npy, float16": 1 / 128,
    "float16, blosc zstd 5": 1 / 128,
    "zfp, 1/128 px": 1 / 128,
    "zfp, 1/32 px": 1 / 32,
    **{f"store, 1/{1 / step:.0f} px": step / 2 for step in STEPS},
}


@pytest.fixture(scope="module")
def measured():
    """The rows of two flows of different sizes, one with unknown pixels."""
    rng = np.random.default_rng(0)
    flows = [rng.uniform(-32, 32, (*size, 2)).astype(np.float32) for size in ((9, 20), (16, 5))]
    flows[0][2:4, 5:] = np.nan
    found = measure(methods(), flows, rounds=1, advance=lambda: None)
    return {row.method: row for row in found}


@pytest.mark.parametrize("name", [method.name for method in methods()])
def test_each_method_keeps_its_promise(measured, name):
    row = measured[name]
    assert row.reason is None
    assert row.same_unknown
    assert row.max_error <= BOUNDS.get(name, 1 / 128)
    assert (row.max_error == 0) == (name in (".flo", ".npz"))
    assert 0 <= row.mean_error <= row.max_error


def test_the_fastest_round_counts(monkeypatch):
    """Seconds at the begin and the end of writing and reading a flow, in two rounds."""
    clock = iter([0, 0.004, 1, 1.002, 2, 2.003, 3, 3.005])
    watch = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("bench.storage.measure.time", watch)
    flow = np.zeros((2, 3, 2), np.float32)
    (row,) = measure(methods()[:1], [flow], rounds=2, advance=lambda: None)
    assert (row.write_ms, row.read_ms) == pytest.approx((3, 2))


def test_bytes_by_hand(measured):
    assert measured[".flo"].bytes == (9 * 20 * 8 + 16 * 5 * 8) / 2 + 12


def test_flow_that_a_format_cannot_store():
    flow = np.full((4, 4, 2), 600, np.float32)
    found = {row.method: row for row in measure(methods(), [flow], rounds=2, advance=lambda: None)}
    assert "a KITTI png stores" in found["KITTI .png"].reason
    assert "holds at most 511.98" in found["store, 1/64 px"].reason
    assert found["store, 1/16 px"].reason is None
    cells = rows({"rows": [row.to_json() for row in found.values()]})
    assert {len(row) for row in cells} == {len(COLUMNS)}
    assert cells[1] == ["KITTI .png", *"––––––"]  # noqa: RUF001 - an en dash is meant


def test_the_command(tmp_path, monkeypatch, tiny_bundle, tiny_flow, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
    for index, image in enumerate(images):
        write_image(tmp_path / "frames" / f"{index}.png", image)
    arguments = ["--frames", "frames", "--limit", "1", "--rounds", "1", "--json", "out.json"]
    assert main([*arguments, "--bundle", str(tiny_bundle)]) == 0
    (found,) = json.loads(Path("out.json").read_text())["sets"]
    assert found["name"] == "frames, tiny fp32"
    assert (found["flows"], found["sizes"]) == (1, ["48x64"])
    raw = next(row for row in found["rows"] if row["method"] == ".flo")
    assert raw["bytes"] == 48 * 64 * 8 + 12
    assert "frames, tiny fp32: 1 flows of 48x64" in capsys.readouterr().out
    assert main(["--frames", "nothing"]) == 2
    assert "nothing does not exist" in capsys.readouterr().err
