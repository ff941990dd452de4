"""Finished extractions as data sets."""

import json
import pickle
import zipfile
from fractions import Fraction

import numpy as np
import pytest

from engine.bulk.extraction import JOB, TABLE, opened, write_plan, write_table
from engine.bulk.plan import Clip, extended
from engine.bulk.reader import Extraction
from engine.bulk.shard import compute_shard
from engine.errors import FlowFileError, InputError
from engine.flow.formats import bytes_from_flow, read_flow
from engine.store.entries import store_entries
from engine.store.info import StoreInfo
from engine.store.reader import FlowStore

COUNTS = {"a.mp4": 2, "b.mp4": 0, "c.mp4": 3}


def flow_of(file, index):
    return np.full((4, 6, 2), [ord(file[0]), index], np.float32)


def write(folder, kind):
    """An extraction whose flows are known; b.mp4 could not be read."""

    def compute(number, clip, add):
        row = {"file": clip.file, "status": "ok" if COUNTS[clip.file] else "damaged."}
        if not COUNTS[clip.file]:
            return row
        flows = [flow_of(clip.file, index) for index in range(COUNTS[clip.file])]
        name = str(number)
        if kind == "store":
            with store_entries(
                lambda key, data: add(f"{name}/{key}", data),
                (4, 6), StoreInfo.begun(clip.file, Fraction(1, 25)),
            ) as store:  # fmt: skip
                for index, flow in enumerate(flows):
                    times = Fraction(index, 25), Fraction(index + 1, 25)
                    store.append(flow, name=str(index), times=times)
        for index, flow in enumerate(flows):
            if kind == "png":
                add(f"{name}/{index}.png", bytes_from_flow(flow, "flow.png"))
        return row | {"height": 4, "width": 6, "flows": len(flows), "folder": name}

    with opened(folder, {"format": kind}, force=False) as before:
        plan = extended(before, [Clip(file, 10, "") for file in COUNTS], 20)
        write_plan(folder, plan)
        for shard in plan:
            rows = compute_shard(folder / "shards", shard, compute, run="", archived=True)
            assert len(list(rows)) == len(shard.clips)
        write_table(folder, plan)
    return folder


@pytest.fixture(params=["store", "png"])
def folder(request, tmp_path):
    return write(tmp_path / "flows", request.param)


def test_flows_in_order(folder):
    extraction = Extraction(folder)
    assert len(extraction) == 5
    expected = [flow_of(file, i) for file, count in COUNTS.items() for i in range(count)]
    np.testing.assert_array_equal([extraction[i] for i in range(5)], expected)
    np.testing.assert_array_equal(extraction[-1], expected[-1])
    assert [extraction.locate(i) for i in (0, 1, 2, -1)] == [(0, 0), (0, 1), (2, 0), (2, 2)]
    assert [row["status"] for row in extraction.clips] == ["ok", "damaged.", "ok"]
    assert repr(extraction).endswith("flows': 5 flows of 3 clips)")
    with pytest.raises(IndexError, match="has 5 flows; there is no number 5"):
        extraction[5]
    with pytest.raises(InputError, match=r"b\.mp4 has no flow: damaged\."):
        extraction.flows_of(1)


def test_pickled_while_open(folder):
    extraction = Extraction(folder)
    extraction[0]
    copy = pickle.loads(pickle.dumps(extraction))
    np.testing.assert_array_equal(copy[3], extraction[3])


def test_a_data_set_of_torch(folder):
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(Extraction(folder), batch_size=5, num_workers=1)
    (batch,) = loader
    np.testing.assert_array_equal(batch[:, 0, 0, 0], [97, 97, 99, 99, 99])


def test_an_unzipped_shard_has_the_folders_of_its_clips(folder, tmp_path):
    with zipfile.ZipFile(folder / "shards" / "00000.zip") as archive:
        archive.extractall(tmp_path / "unzipped")
    place = tmp_path / "unzipped" / "0"
    found = FlowStore(place)[1] if (place / "flow").exists() else read_flow(place / "1.png")[0]
    np.testing.assert_array_equal(found, flow_of("a.mp4", 1))


def test_what_is_no_finished_extraction(tmp_path, folder):
    with pytest.raises(InputError, match=r"is no extraction \(extraction\.json is missing"):
        Extraction(tmp_path)
    job = json.loads((folder / JOB).read_text())
    (folder / JOB).write_text(json.dumps(job | {"job": {"format": "score"}}))
    with pytest.raises(InputError, match="holds no flow, but the format 'score'"):
        Extraction(folder)
    (folder / JOB).write_text(json.dumps(job | {"version": 2}))
    with pytest.raises(InputError, match="another format or version"):
        Extraction(folder)
    (folder / JOB).write_text(json.dumps(job))
    table = (folder / TABLE).read_text()
    for fault in ('"folder": "../', '"folder": 1, "x": "', '"height": null, "folder": "'):
        (folder / TABLE).write_text(table.replace('"folder": "', fault))
        with pytest.raises(FlowFileError, match="expected file, status, and size, number and"):
            Extraction(folder)
    (folder / TABLE).write_text(table.replace('"flows": 2', '"flows": 1'))
    with pytest.raises(FlowFileError, match=r"has 2 flows; expected 1\. Give the same"):
        Extraction(folder)[0]
    (folder / TABLE).write_text("[")
    with pytest.raises(InputError, match=r"clips\.jsonl is damaged"):
        Extraction(folder)
    (folder / TABLE).unlink()
    with pytest.raises(InputError, match=r"is not finished: it has no clips\.jsonl"):
        Extraction(folder)
