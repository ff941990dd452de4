"""``flow extract``; one test starts Ray."""

import importlib.util
import io
import itertools
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from engine.bulk import cluster
from engine.bulk.reader import Extraction
from engine.cli import score as score_verb
from engine.cli.main import main
from engine.errors import BackendError
from engine.images import write_image
from engine.video.clips import open_clip
from tests.support.one_process import replace_ray
from tests.support.videos import levels, write_clip


@pytest.fixture
def clips(tmp_path, rng):
    folder = tmp_path / "clips"
    (folder / "pictures").mkdir(parents=True)
    for index in range(4):
        write_image(folder / "pictures" / f"{index}.png", rng.integers(0, 256, (48, 64, 3), "u1"))
    write_clip(folder / "clip2.mp4", levels(3))
    write_clip(folder / "clip10.mp4", levels(6))
    return folder


@pytest.fixture
def in_this_process(monkeypatch):
    replace_ray(monkeypatch)


def extract(bundle, *arguments):
    command = ["extract", "--bundle", str(bundle), "--backend", "onnxruntime"]
    return main([*command, *map(str, arguments)])


def flows(path, tiny_flow, *, every=1):
    """The flow of a clip by numpy."""
    with open_clip(path, stride=1, threads=1) as source:
        images = [frame.image for frame in source]
    pairs = list(itertools.pairwise(images))[::every]
    return [tiny_flow(*pair) for pair in pairs]


@pytest.mark.parametrize(("kind", "every"), [("store", 1), ("store", 2), ("png", 3)])
def test_flows_of_a_folder(
    clips, tmp_path, tiny_bundle, tiny_flow, in_this_process, capsys, kind, every
):
    out = tmp_path / "flows"
    assert extract(tiny_bundle, clips, "-o", out, "--format", kind, "--every", every) == 0
    extraction = Extraction(out)
    names = [clips / name for name in ("clip2.mp4", "clip10.mp4", "pictures")]
    assert [row["file"] for row in extraction.clips] == [str(name) for name in names]
    expected = [flow for name in names for flow in flows(name, tiny_flow, every=every)]
    assert f"3 clips: 3 ok, 0 failed, {len(expected)} flows; " in capsys.readouterr().out
    assert len(extraction) == len(expected)
    for index, truth in enumerate(expected):
        np.testing.assert_allclose(extraction[index], truth, atol=1 / 128 + 1e-4)


def test_names_of_a_store_are_those_of_the_first_frames(
    clips, tmp_path, tiny_bundle, in_this_process
):
    assert extract(tiny_bundle, clips, "-o", tmp_path / "flows", "--every", 2) == 0
    store = Extraction(tmp_path / "flows").flows_of(1)
    assert store.names == ("000000", "000002", "000004")
    np.testing.assert_allclose(store.times, [[0, 0.04], [0.08, 0.12], [0.16, 0.2]])


def test_scores_are_those_of_flow_score(clips, tmp_path, tiny_bundle, in_this_process, capsys):
    assert extract(tiny_bundle, clips, "-o", tmp_path / "scores", "--format", "score") == 0
    capsys.readouterr()
    engine = ["--bundle", str(tiny_bundle), "--backend", "onnxruntime", "--threads", "1"]
    assert main(["score", str(clips), "--json", *engine]) == 0
    assert (tmp_path / "scores" / "clips.jsonl").read_text() == capsys.readouterr().out


def test_a_list_on_stdin_and_what_cannot_be_read(
    clips, tmp_path, tiny_bundle, in_this_process, capsys, monkeypatch
):
    (clips / "bad.mp4").write_bytes(b"text")
    lines = f"clips/bad.mp4\n\nclips/clip2.mp4\n{clips}/missing.mp4\nclips/clip2.mp4\n".encode()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert extract(tiny_bundle, "-", "-o", "flows") == 1
    out, notes = capsys.readouterr()
    assert out.startswith("3 clips: 1 ok, 2 failed, 2 flows; ")
    assert "bad.mp4 cannot be opened as a video" in notes
    rows = [json.loads(line) for line in (tmp_path / "flows/clips.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [
        str(clips / name) for name in ("bad.mp4", "clip2.mp4", "missing.mp4")
    ]
    assert "missing.mp4 does not exist" in rows[2]["status"]


def test_again_with_more_clips_a_mended_one_and_retry(
    clips, tmp_path, tiny_bundle, in_this_process, capsys
):
    (clips / "bad.mp4").write_bytes(b"text")
    command = (clips, "-o", tmp_path / "flows", "--workers", "1")
    assert extract(tiny_bundle, *command) == 1
    write_clip(clips / "clip30.mp4", levels(3))
    assert extract(tiny_bundle, *command) == 1
    assert "5 clips, 4 of them by earlier runs: 4 ok, 1 failed" in capsys.readouterr().out
    assert extract(tiny_bundle, *command, "--retry") == 1
    again = re.search("5 clips, ([0-9]) of them by earlier runs: 4 ok", capsys.readouterr().out)
    assert 0 < int(again[1]) < 5  # those of other shards
    write_clip(clips / "bad.mp4", levels(3))
    assert extract(tiny_bundle, *command) == 0
    assert f"5 clips, {again[1]} of them by earlier runs: 5 ok" in capsys.readouterr().out
    assert extract(tiny_bundle, *command) == 0
    assert "5 clips, 5 of them by earlier runs: 5 ok" in capsys.readouterr().out
    (clips / "bad.mp4").unlink()
    assert extract(tiny_bundle, *command) == 1
    assert "bad.mp4 was one of the clips" in capsys.readouterr().err


def test_another_command_needs_force(clips, tmp_path, tiny_bundle, in_this_process, capsys):
    out = tmp_path / "flows"
    assert extract(tiny_bundle, clips, "-o", out) == 0
    assert extract(tiny_bundle, clips, "-o", out, "--every", "2") == 1
    assert "was begun with every 1, and this is 2; expected the same" in capsys.readouterr().err
    assert len(Extraction(out)) == 2 + 5 + 3
    assert extract(tiny_bundle, clips, "-o", out, "--every", "2", "--force") == 0
    assert len(Extraction(out)) == 1 + 3 + 2


def test_a_failure_whose_message_is_lost_with_its_worker(
    clips, tmp_path, tiny_bundle, in_this_process, monkeypatch, capsys
):
    whole = cluster.process_all
    monkeypatch.setattr(
        cluster,
        "process_all",
        lambda *arguments: (done for done in whole(*arguments) if done.row["status"] == "ok"),
    )
    (clips / "bad.mp4").write_bytes(b"text")
    assert extract(tiny_bundle, clips, "-o", tmp_path / "flows") == 1
    assert capsys.readouterr().out.startswith("4 clips: 3 ok, 1 failed, 10 flows; ")


def test_an_edited_plan(clips, tmp_path, tiny_bundle, in_this_process, capsys):
    out = tmp_path / "flows"
    assert extract(tiny_bundle, clips, "-o", out) == 0
    plan = (out / "plan.jsonl").read_text()
    (out / "plan.jsonl").write_text(plan.replace('"first": 0', '"first": 9'))
    assert extract(tiny_bundle, clips, "-o", out) == 1
    message = "plan.jsonl is damaged: line 1 is not shard 0 with the clips from 0. Expected"
    assert message in capsys.readouterr().err


def test_interrupted(clips, tmp_path, tiny_bundle, in_this_process, capsys, monkeypatch):
    one_by_one = cluster.process_all

    def interrupted(*arguments):
        for done in one_by_one(*arguments):
            if done.clip == 2:
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(cluster, "process_all", interrupted)
    command = (clips, "-o", tmp_path / "flows")
    assert extract(tiny_bundle, *command) == 130
    assert "interrupted after 2 of 3 clips; finished shards are kept" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "process_all", one_by_one)
    assert extract(tiny_bundle, *command) == 0
    assert "3 clips, 2 of them by earlier runs: 3 ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("clips", "clips/flows", "is inside .*clips, which is read; expected another place"),
        ("clips", "other", "is no extraction .* expected a folder that `flow extract` wrote"),
        ("clips", "none/flows", "none is not a folder. Create it"),
        ("missing.txt", "flows", "missing.txt: No such file"),
        ("empty.txt", "flows", "empty.txt names no clip; expected one on each line"),
        ("zeros.txt", "flows", "zeros.txt is no list; expected a folder, a video, or a text file"),
    ],
)
def test_refused_before_anything_is_written(
    clips, tmp_path, tiny_bundle, in_this_process, capsys, monkeypatch, source, output, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("notes.txt", ".plan.mine.txt"):
        (tmp_path / "other" / name).write_text("mine")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "zeros.txt").write_bytes(b"a\0b")
    before = sorted(tmp_path.rglob("*"))
    assert extract(tiny_bundle, source, "-o", output) == 1
    assert re.search(message, capsys.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_longer_side_of_scores(clips, tmp_path, tiny_bundle, in_this_process):
    out = tmp_path / "scores"
    options = ("--format", "score", "--max-side", "32", "--every", "2")
    assert extract(tiny_bundle, clips, "-o", out, *options) == 0
    rows = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()]
    assert [row["frames"] for row in rows] == [2, 6, 4]
    assert score_verb.MAX_SIDE == 512


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1: "),
        ("ray://head:10001", "is no address of a cluster; expected HOST:PORT"),
        ("head", "'head' is no address of a cluster"),
    ],
)
def test_no_cluster(clips, tmp_path, tiny_bundle, in_this_process, capsys, address, message):
    assert extract(tiny_bundle, clips, "-o", tmp_path / "flows", "--address", address) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "flows").exists()


def test_the_number_of_workers():
    here = cluster.Resources(8, threads=1)
    assert cluster._workers({"CPU": 8}, here) == 8
    assert cluster._workers({"CPU": 8, "GPU": 2}, replace(here, gpus=0.5)) == 4
    with pytest.raises(BackendError, match="finds 0 GPUs, and a worker needs 1; expected as many"):
        cluster._workers({"CPU": 8}, replace(here, gpus=1))
    there = cluster.Resources(None, threads=4, address="head:6379")
    assert cluster._workers({"CPU": 42}, there) == 10
    assert cluster._workers({"CPU": 42, "GPU": 3}, replace(there, gpus=1)) == 3
    assert cluster._workers({"CPU": 42}, replace(there, workers=5, gpus=1)) == 5


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, "Ray did not start: it broke. Give the same command again; check the load"),
        ("head:6379", "Ray cannot be reached at head:6379: it broke. All machines need the same R"),
    ],
)
def test_ray_does_not_start(address, expected):
    class Broken:
        def init(self, **options):
            raise ConnectionError("it broke.")

        def shutdown(self):
            pass

    resources = cluster.Resources(1, threads=1, address=address)
    with (
        pytest.raises(BackendError, match=re.escape(expected)),
        cluster._connected(Broken(), resources),
    ):
        pass


def test_without_ray(clips, tmp_path, tiny_bundle, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert extract(tiny_bundle, clips, "-o", tmp_path / "flows") == 1
    assert "pip install 'flownet-engine[bulk]'" in capsys.readouterr().err
    assert not (tmp_path / "flows").exists()


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="needs Ray: pip install 'flownet-engine[bulk]'",
)
def test_with_ray(clips, tmp_path, tiny_bundle, tiny_flow):
    assert extract(tiny_bundle, clips, "-o", tmp_path / "flows", "--workers", "2") == 0
    extraction = Extraction(tmp_path / "flows")
    expected = [
        flow
        for name in ("clip2.mp4", "clip10.mp4", "pictures")
        for flow in flows(clips / name, tiny_flow)
    ]
    found = [extraction[index] for index in range(len(extraction))]
    np.testing.assert_allclose(found, expected, atol=1 / 128 + 1e-4)
    assert extraction[0].shape == (48, 64, 2)
