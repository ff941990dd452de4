"""Writing and reading stores, also by the package zarr."""

import os
import pickle
import shutil
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import zarr
import zarr.registry
from torch.utils.data import DataLoader

from engine.errors import FlowFileError, InputError
from engine.store import arrays
from engine.store.reader import FlowStore
from engine.store.writer import move_store, write_store
from engine.store.zarr_codec import FlowCodec


@pytest.fixture
def flows(smooth):
    flows = [smooth() for _ in range(5)]
    flows[2][3:7, 10:] = np.nan
    flows[3][:] = np.nan
    return flows


def assert_close(found, expected, bound=1 / 128):
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected), initial=0) <= bound


def test_random_access(flows, write):
    store = FlowStore(write(flows))
    assert len(store) == 5
    for index in (4, 0, 2, -5, -1, 3):
        assert_close(store[index], flows[index])
    for chosen in (slice(1, 4), slice(None), slice(None, None, -2), slice(4, 1)):
        assert_close(store[chosen], np.array(flows)[chosen])
    for found, flow in zip(store, flows, strict=True):
        assert_close(found, flow)
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"has 5 flows; there is no number {index}"):
            store[index]


def test_what_is_stored_beside_the_flow(flows, write):
    path = write(flows, bundle="ab" * 32, network="tiny", step=1 / 16)
    store = FlowStore(path)
    info = store.info
    assert (info.source, info.bundle, info.network) == ("clip.mp4", "ab" * 32, "tiny")
    assert (info.step, info.max_error, info.units, info.complete) == (1 / 16, 1 / 32, "px", True)
    assert store.time_base == Fraction(1, 25)
    assert store.names == ("000000", "000001", "000002", "000003", "000004")
    assert store.pts.tolist() == [[index, index + 1] for index in range(5)]
    assert store.times[1].tolist() == [0.04, 0.08]
    assert_close(store[0], flows[0], 1 / 32)
    assert repr(store) == f"FlowStore('{path}': 5 flows of 24x40, error at most 0.03125 px)"


def test_smooth_flow_is_small(flows, write):
    path = write(flows[:1])
    assert os.path.getsize(path / "flow" / "c.0.0.0.0") * 8 < flows[0].nbytes


def test_zarr_reads_a_store(flows, write):
    zarr.registry.register_codec(arrays.CODEC, FlowCodec)
    path = write(flows)
    group, store = zarr.open_group(path, mode="r"), FlowStore(path)
    for index in range(5):
        levels = group["flow"][index]
        flow = np.moveaxis(levels * np.float32(group["flow"].attrs["scale_factor"]), 0, -1)
        flow[(levels == group["flow"].fill_value).all(axis=0)] = np.nan
        assert np.array_equal(flow, store[index], equal_nan=True)
    assert np.array_equal(group["pts"][:], store.pts)
    assert bytes(group["name"][4]).rstrip(b"\0") == b"000004"
    assert group.attrs["max_error"] == 1 / 128


def test_zarr_writes_the_same_bytes(flows, write, tmp_path):
    zarr.registry.register_codec(arrays.CODEC, FlowCodec)
    path = write(flows)
    ours = zarr.open_group(path, mode="r")["flow"]
    copy = zarr.create_array(
        tmp_path / "copy.zarr",
        shape=ours.shape,
        chunks=ours.chunks,
        dtype="int16",
        serializer=FlowCodec(),
        compressors=ours.compressors,
        fill_value=ours.fill_value,
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    copy[2] = ours[2]
    name = "c.2.0.0.0"
    assert (tmp_path / "copy.zarr" / name).read_bytes() == (path / "flow" / name).read_bytes()


def test_the_entry_point_names_the_codec():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["zarr.codecs"][arrays.CODEC].partition(":")
    assert getattr(import_module(module), name) is FlowCodec


def test_workers_of_a_data_loader(flows, write):
    store = FlowStore(write(flows))
    store[0]  # what was used before a fork may not disturb the workers
    loader = DataLoader(store, batch_size=2, num_workers=2, multiprocessing_context="fork")
    assert_close(np.concatenate([batch.numpy() for batch in loader]), np.array(flows))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_file_of_a_store(flows, write, tmp_path, compression):
    path = write(flows)
    with zipfile.ZipFile(tmp_path / "store.zarr.zip", "w", compression) as archive:
        for file in path.rglob("*"):
            archive.write(file, file.relative_to(path))
    store = pickle.loads(pickle.dumps(FlowStore(tmp_path / "store.zarr.zip")))
    assert (store.info, store.names) == (FlowStore(path).info, FlowStore(path).names)
    with pytest.raises(FlowFileError, match=r"expected a whole store"):
        store._files.read("nothing", 10)
    with pytest.raises(FlowFileError, match=r"has more than 10 bytes"):
        store._files.read("zarr.json", 10)
    loader = DataLoader(store, batch_size=1, num_workers=2, multiprocessing_context="fork")
    assert_close(np.concatenate([batch.numpy() for batch in loader]), np.array(flows))
    data = bytearray((tmp_path / "store.zarr.zip").read_bytes())
    data[data.index(b"flow/c.0.0.0.0") + 60] ^= 255
    (tmp_path / "store.zarr.zip").write_bytes(data)
    with pytest.raises(FlowFileError, match=r"c.0.0.0.0: cannot be read from the zip file"):
        FlowStore(tmp_path / "store.zarr.zip")[0]


def test_threads_and_pickles(flows, write):
    store = pickle.loads(pickle.dumps(FlowStore(write(flows))))
    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(lambda i: store[i % 5], range(40))):
            assert_close(found, flows[index % 5])


def test_an_interrupted_store_is_readable_and_continued(flows, write, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(flows, stop=3)
    path = tmp_path / "store.zarr"
    store = FlowStore(path)
    assert (len(store), store.info.complete) == (3, False)
    assert "incomplete" in repr(store)
    assert_close(store[:], np.array(flows[:3]))
    whole = FlowStore(write(flows, "whole.zarr"))
    (path / "flow" / ".c.3.0.0.1a2b3c4d.0").write_bytes(b"what a killed process leaves")
    with write_store(
        path, (24, 40), source="clip.mp4", time_base=Fraction(1, 25), keep=2
    ) as writer:
        assert len(writer) == 2
        assert len(FlowStore(path)) == 2
        for index in (2, 3, 4):
            times = Fraction(index, 25), Fraction(index + 1, 25)
            writer.append(flows[index], name=f"{index:06d}", times=times)
    assert same_files(path, whole.path)


def same_files(one, other):
    content = [
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (one, other)
    ]
    return content[0] == content[1]


def test_a_flow_that_was_written_in_part_is_not_there(flows, write):
    """A process that is killed between two files of a flow."""
    path = write(flows)
    (path / "flow" / "c.5.0.0.0").write_bytes(b"half")
    rows = arrays.dump_json(arrays.PTS.metadata(arrays.ROWS))
    (path / "pts" / "zarr.json").write_bytes(rows)
    assert len(FlowStore(path)) == 5


def test_more_flows_than_rows_of_a_chunk(write, tmp_path):
    flows = [np.full((1, 1, 2), index / 64, np.float32) for index in range(arrays.ROWS + 2)]
    with pytest.raises(KeyboardInterrupt):
        write(flows, stop=arrays.ROWS)
    store = FlowStore(tmp_path / "store.zarr")
    with write_store(
        store.path, (1, 1), source="clip.mp4", time_base=Fraction(1, 25), keep=arrays.ROWS
    ) as writer:
        for index in range(2):
            writer.append(flows[-1], name=f"last/{index}", times=(Fraction(0), Fraction(1)))
    store = FlowStore(store.path)
    assert len(store) == len(store.pts) == len(store.names) == arrays.ROWS + 2
    assert store.names[arrays.ROWS - 1 :] == ("000127", "last/0", "last/1")
    assert store.pts[-3:].tolist() == [[127, 128], [0, 25], [0, 25]]
    assert store[arrays.ROWS - 1][0, 0, 0] == (arrays.ROWS - 1) / 64


def test_what_exists_is_not_replaced(flows, write):
    path = write(flows)
    with pytest.raises(InputError, match=r"store.zarr exists; expected a new name"):
        write(flows)
    assert len(FlowStore(path)) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 1 / 16}, "holds flows of .*step=0.015625.*; expected .*step=0.0625"),
        ({"source": "other.mp4"}, "source='clip.mp4'.*; expected .*source='other.mp4'"),
        ({"keep": 6}, "has 5 flows; 6 cannot be kept"),
        ({"step": 0.01}, "step is 0.01 px; expected a power of two"),
    ],
)
def test_another_store_is_not_continued(flows, write, change, message):
    path = write(flows)
    before = (path / "zarr.json").read_bytes()
    options = {"source": "clip.mp4", "time_base": Fraction(1, 25), "keep": 5, **change}
    with pytest.raises(InputError, match=message), write_store(path, (24, 40), **options):
        pytest.fail("the store was opened")
    assert (path / "zarr.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flow", "name", "message"),
    [
        (np.zeros((24, 41, 2), np.float32), "a", r"\(24, 41, 2\); expected floats \(24, 40, 2\)"),
        (np.zeros((24, 40, 2), np.uint8), "a", "flow is uint8"),
        (np.full((24, 40, 2), 1e4, np.float32), "a", "holds at most 511.98"),
        (np.ma.masked_less(np.zeros((24, 40, 2), np.float32), 1), "a", "has masked values"),
        *[
            (np.zeros((24, 40, 2), np.float32), name, "is no relative path of 1 to 256 bytes")
            for name in ("", "/a", "../a", "a/../b", "a\0b", "a" * 257, ".", "a/")
        ],
    ],
)
def test_bad_flows_leave_the_store_as_it_was(flows, write, flow, name, message):
    path = write(flows)
    with (
        pytest.raises(InputError, match=message),
        write_store(path, (24, 40), source="clip.mp4", time_base=Fraction(1, 25), keep=5) as store,
    ):
        store.append(flow, name=name, times=(Fraction(5), Fraction(6)))
    assert len(FlowStore(path)) == 5


def test_an_interruption_while_a_store_is_replaced(flows, write, tmp_path, monkeypatch):
    """Whatever is left of the old one, the new one can still be moved to its place."""
    new, old = write(flows), write(flows[:1], "old.zarr")

    def interrupted(path, **named):
        if path.exists():
            (path / "zarr.json").unlink(missing_ok=True)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            move_store(new, old)
    move_store(new, old)
    assert len(FlowStore(old)) == 5
    assert os.listdir(tmp_path) == ["old.zarr"]


def test_only_stores_are_replaced(flows, write, tmp_path):
    other = tmp_path / "thesis.zarr"
    other.mkdir()
    (other / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    new, old = write(flows), write(flows[:1], "old.zarr")
    for path, message in (
        (other, r"thesis.zarr exists and is no store, so it is never replaced: .* another Zarr"),
        (tmp_path / "thesis", r"thesis does not end in .zarr"),
    ):
        with pytest.raises(InputError, match=message):
            move_store(new, path)
    move_store(new, old)
    assert len(FlowStore(old)) == 5
    assert sorted(os.listdir(tmp_path)) == ["old.zarr", "thesis.zarr"]
