"""Stores that are damaged or made to do harm."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import FlowFileError, InputError
from engine.store import arrays, blosc
from engine.store.reader import FlowStore


@pytest.fixture
def path(smooth, write):
    return write([smooth() for _ in range(2)])


def changed(path, key, *keys, value):
    """Set an item in a JSON file."""
    content = json.loads((path / key).read_text())
    place = content
    for inner in keys[:-1]:
        place = place[inner]
    place[keys[-1]] = value
    (path / key).write_text(json.dumps(content))


GROUP, FLOW, PTS = "zarr.json", "flow/zarr.json", "pts/zarr.json"
CODECS = [{"name": "numcodecs.pickle"}, blosc.configuration(2)]


@pytest.mark.parametrize(
    ("key", "keys", "value", "message"),
    [
        (GROUP, ["attributes", "format"], "other", "is another Zarr group"),
        (GROUP, ["attributes"], [], "is another Zarr group"),
        (GROUP, ["attributes", "version"], 2, "attributes.version is 2; expected one of"),
        (GROUP, ["attributes", "step"], 0.01, "attributes.step is 0.01; expected a power of two"),
        (GROUP, ["attributes", "step"], "a", "attributes.step is 'a'; expected a finite number"),
        (GROUP, ["attributes", "max_error"], 1, "max_error is 1.0; expected half the step"),
        (GROUP, ["attributes", "time_base"], "1e9999999", "time_base is .* expected seconds"),
        (GROUP, ["attributes", "time_base"], "1/0", "time_base is '1/0'; expected seconds"),
        (GROUP, ["attributes", "complete"], None, "attributes.complete is None"),
        (GROUP, ["attributes", "more"], 1, "unknown key 'more' in attributes"),
        (FLOW, ["codecs"], CODECS, "has flow with codecs .*numcodecs.pickle.*; expected"),
        (FLOW, ["data_type"], "float64", "has flow with data_type 'float64'; expected 'int16'"),
        (FLOW, ["shape"], [2, 2, 1 << 20, 1 << 20], "sides up to 16384"),
        (FLOW, ["shape"], [2, 3, 24, 40], r"expected \(frames, 2, height, width\)"),
        (FLOW, ["shape"], [-1, 2, 24, 40], "expected a count"),
        (FLOW, ["shape"], [1 << 40, 2, 24, 40], "expected a count"),
        (FLOW, ["shape"], [2, 2, 24, 41], "has flow with chunk_grid"),
        (FLOW, ["shape"], [2.0, 2, 24, 40], "has flow of shape"),
        (PTS, ["shape"], [2, 3], "has pts of shape"),
        (PTS, ["codecs"], [], "has pts with codecs"),
    ],
)
def test_metadata(path, key, keys, value, message):
    changed(path, key, *keys, value=value)
    with pytest.raises(FlowFileError, match=f"{key}: .*{message}"):
        FlowStore(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"shape": NaN}', "is no JSON"),
        (b"[]", "is list; expected a JSON object"),
        (b" " * (1 << 21), "has more than"),
    ],
)
def test_what_is_no_metadata(path, content, message):
    (path / FLOW).write_bytes(content)
    with pytest.raises(FlowFileError, match=f"{FLOW}: {message}"):
        FlowStore(path)


def test_missing_files(path, tmp_path):
    (path / "flow" / "c.1.0.0.0").unlink()
    store = FlowStore(path)
    assert store[0].shape == (24, 40, 2)
    with pytest.raises(FlowFileError, match=r"flow/c.1.0.0.0: is missing; expected a whole store"):
        store[1]
    shutil.rmtree(path / "name")
    with pytest.raises(FlowFileError, match=r"name/zarr.json: is missing"):
        FlowStore(path)
    with pytest.raises(InputError, match=r"nothing.zarr does not exist; expected a store"):
        FlowStore(tmp_path / "nothing.zarr")
    (tmp_path / "file.zarr").touch()
    with pytest.raises(FlowFileError, match=r"file.zarr is no store: .*; expected a folder"):
        FlowStore(tmp_path / "file.zarr")


def test_a_small_file_that_would_fill_the_memory(path):
    """The largest size that is read, with the data of a small flow."""
    largest = arrays.flow_array(4096, 8192, 1 / 64)
    (path / FLOW).write_bytes(arrays.dump_json(largest.metadata(2)))
    with pytest.raises(FlowFileError, match=r"c.0.0.0.0: expands \d+ bytes to \d+; expected \d+"):
        FlowStore(path)[0]


def test_more_rows_than_there_are(path):
    changed(path, FLOW, "shape", value=[1 << 30, 2, 24, 40])
    changed(path, PTS, "shape", value=[1 << 30, 2])
    changed(path, "name/zarr.json", "shape", value=[1 << 30, 256])
    with pytest.raises(FlowFileError, match=r"pts/c.1.0: is missing"):
        FlowStore(path).pts  # noqa: B018


@pytest.mark.parametrize("name", [b"../../.bashrc", b"/etc/passwd", b"", b"a/../b"])
def test_names_that_lead_elsewhere(path, name):
    rows = np.zeros(arrays.NAME.chunk, np.uint8)
    rows[1, : len(name)] = np.frombuffer(name, np.uint8)
    rows[0, 0] = ord("a")
    (path / arrays.NAME.chunk_key(0)).write_bytes(blosc.compress(rows, 1))
    with pytest.raises(FlowFileError, match=r"names a flow .*; expected a relative path"):
        FlowStore(path).names  # noqa: B018


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_damaged_data(path, data):
    file = path / "flow" / "c.0.0.0.0"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(damaged[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    with contextlib.suppress(FlowFileError):  # other errors fail
        assert FlowStore(path)[0].shape == (24, 40, 2)
    file.write_bytes(whole)


def test_the_number_of_pixels_is_limited(monkeypatch):
    shape = {"shape": [1, 2, 16384, 16384]}
    with pytest.raises(FlowFileError, match="has 16384x16384 pixels in its header; expected at m"):
        arrays.parse_size(shape)
    monkeypatch.setenv("FLOWNET_ENGINE_MAX_PIXELS", str(1 << 28))
    assert arrays.parse_size(shape) == (16384, 16384)
