"""Stores in ``flow convert``, ``flow show`` and ``flow eval``."""

import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.cli.main import main
from engine.flow.formats import read_flow, write_flow
from engine.images import read_image
from engine.store.reader import FlowStore
from engine.store.writer import write_store


@pytest.fixture(autouse=True)
def flows(tmp_path, monkeypatch, rng):
    """The flows of the folder ``flows``, one of them in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    flows = rng.normal(0, 20, (3, 6, 7, 2)).astype(np.float32)
    flows[1, 2, 3] = np.nan
    os.makedirs("flows/scene")
    for name, flow in zip(("f2", "f10", "scene/f1"), flows, strict=True):
        write_flow(f"flows/{name}.flo", flow)
    return flows


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_folder_to_a_store_and_back(flows, capsys):
    code, out, _ = run(capsys, "convert", "flows", "a.zarr")
    store = FlowStore("a.zarr")
    error = np.nanmax(np.abs(store[:] - flows))
    assert 0 < error <= 1 / 128
    assert (code, out) == (0, f"wrote 3 flows to a.zarr: at most {error:.2g} px off\n")
    assert store.names == ("f2", "f10", "scene/f1")
    assert (store.info.source, store.info.bundle) == ("flows", None)
    code, out, _ = run(capsys, "convert", "a.zarr", "back", "--format", ".png")
    assert (code, out) == (0, "wrote 3 flows to back: exact\n")
    for name, flow in zip(store.names, store, strict=True):
        np.testing.assert_array_equal(read_flow(f"back/{name}.png")[0], flow)


def test_a_store_to_another_keeps_what_is_beside_the_flow(flows, capsys):
    with write_store(
        "a.zarr", (6, 7), source="a.mp4", time_base=Fraction(1, 50), bundle="ab", network="tiny"
    ) as store:
        store.append(flows[0], name="x", times=(Fraction(3, 25), Fraction(4, 25)))
    assert run(capsys, "convert", "a.zarr", "b.zarr", "--store-step", "1/4")[0] == 0
    old, new = FlowStore("a.zarr"), FlowStore("b.zarr")
    assert (new.info.step, new.info.source, new.info.bundle) == (1 / 4, "a.mp4", "ab")
    assert (new.names, new.pts.tolist(), new.time_base) == (("x",), [[6, 8]], old.time_base)
    assert np.abs(new[0] - old[0]).max() <= 1 / 8


def test_one_flow_of_a_store(flows, capsys):
    run(capsys, "convert", "flows", "a.zarr")
    store = FlowStore("a.zarr")
    for index, name in ((1, "one.flo"), (-1, "last.npy")):
        assert run(capsys, "convert", f"a.zarr:{index}", name)[0] == 0
        np.testing.assert_array_equal(read_flow(name)[0], store[index])
    code, _, err = run(capsys, "convert", "a.zarr:3", "no.flo")
    assert (code, "a.zarr has 3 flows; there is no number 3. Expected -3 to 2." in err) == (1, True)
    code, _, err = run(capsys, "convert", "b.zarr:3", "no.flo")
    assert (code, "b.zarr does not exist; expected a store" in err) == (1, True)


def test_show(flows, capsys):
    run(capsys, "convert", "flows", "a.zarr")
    code, out, _ = run(capsys, "show", "a.zarr")
    lines = out.splitlines()
    magnitude = np.linalg.norm(flows[1], axis=-1)
    assert (code, lines[2].split()[0]) == (0, "a.zarr:1")
    assert float(lines[2].split()[4]) == pytest.approx(np.nanmax(magnitude), abs=0.02)
    assert run(capsys, "show", "a.zarr:0", "a.zarr:2", "-o", "pictures")[0] == 0
    found = sorted(str(path) for path in Path("pictures").rglob("*.png"))
    assert found == ["pictures/a-f2.png", "pictures/a-scene/f1.png"]
    assert read_image(found[0]).shape[2] == 3


def test_eval(flows, capsys):
    run(capsys, "convert", "flows", "a.zarr", "--store-step", "1/2")
    code, out, _ = run(capsys, "eval", "a.zarr", "flows", "--json")
    known = ~np.isnan(flows[..., 0])
    errors = np.linalg.norm(FlowStore("a.zarr")[:] - flows, axis=-1)[known]
    assert code == 0
    assert json.loads(out)["per_pixel"]["all"]["epe"] == pytest.approx(errors.mean(), rel=1e-6)
    assert run(capsys, "eval", "a.zarr:0", "flows/f2.flo")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flows", "a.zarr", "--format", ".png"], "a.zarr is a store; expected no format"),
        (["flows", "a.zarr", "--clip"], "a.zarr is a store, and --clip limits flow to what .png"),
        (["flows", "no/a.zarr"], "no is not a folder. Create it."),
        (["flows", "other.zarr", "--force"], "other.zarr exists and is no store"),
        (["other.zarr", "back", "--format", ".flo"], "zarr.json: is missing; expected a whole"),
        (["mixed", "a.zarr"], "flow is float32 (3, 3, 2); expected floats (6, 7, 2)"),
        (["far.flo", "a.zarr"], "far: flow of up to 1000.00 px"),
    ],
)
def test_refused(flows, capsys, arguments, message):
    os.makedirs("other.zarr/photos")
    os.makedirs("mixed")
    write_flow("mixed/a.flo", flows[0])
    write_flow("mixed/b.flo", np.zeros((3, 3, 2), np.float32))
    write_flow("far.flo", np.full((2, 2, 2), 1000, np.float32))
    before = sorted(os.listdir())
    code, _, err = run(capsys, "convert", *arguments)
    assert (code, message in err) == (1, True), err
    assert sorted(os.listdir()) == before


def test_an_existing_store_needs_force(capsys):
    assert run(capsys, "convert", "flows", "a.zarr")[0] == 0
    code, _, err = run(capsys, "convert", "flows/f2.flo", "a.zarr")
    assert (code, "a.zarr exists and contains files" in err) == (1, True)
    assert run(capsys, "convert", "flows/f2.flo", "a.zarr", "--force")[0] == 0
    assert len(FlowStore("a.zarr")) == 1
