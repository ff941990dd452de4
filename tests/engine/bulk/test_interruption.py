"""An extraction that is killed at any moment, or damaged, ends as if nothing had happened."""

import contextlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bulk.extraction import SHARDS, opened, read_table, write_plan, write_table
from engine.bulk.plan import Clip, extended
from engine.bulk.shard import compute_shard, finished_rows

JOB = {"every": "1"}


class Killed(BaseException):
    """The process ends."""


class Process:
    """Counts what a process does to the disk, and lets it do nothing after so many steps."""

    def __init__(self, monkeypatch, steps):
        self.left = steps
        for place, name in [
            *((os, "replace"), (os, "mkdir"), (os, "unlink"), (shutil, "rmtree")),
            *((Path, "write_bytes"), (Path, "unlink"), (Path, "mkdir")),
            (zipfile.ZipFile, "writestr"),
        ]:
            monkeypatch.setattr(place, name, self.counted(getattr(place, name), name))

    def counted(self, function, name):
        def call(*arguments, **named):
            if self.left == 0:
                if name == "write_bytes":  # some of it
                    self.left = -1
                    function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Killed
            if self.left < 0:
                raise Killed
            self.left -= 1
            return function(*arguments, **named)

        return call


def compute(number, clip, add):
    for index in range(clip.size % 4):
        add(f"{number}/{index}", clip.file.encode() * index)
    return {"file": clip.file, "status": "ok", "flows": clip.size % 4, "folder": str(number)}


def extract(folder, clips, *, run="1"):
    with opened(folder, JOB, force=False) as before:
        plan = extended(before, clips, 20)
        write_plan(folder, plan)
        computed = 0
        for shard in plan:
            if finished_rows(folder / SHARDS, shard) is None:
                computed += 1
                list(compute_shard(folder / SHARDS, shard, compute, run=run, archived=True))
        write_table(folder, plan)
    return computed


def content(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


CLIPS = st.lists(st.integers(0, 25), min_size=1, max_size=8).map(
    lambda sizes: [Clip(f"{index}.mp4", size, "") for index, size in enumerate(sizes)]
)


@settings(max_examples=25)
@given(CLIPS, st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_killed_at_any_step(clips, kills):
    with tempfile.TemporaryDirectory() as place:
        folder, whole = Path(place) / "killed", Path(place) / "whole"
        extract(whole, clips)
        for number, steps in enumerate(kills):
            with pytest.MonkeyPatch.context() as patch:
                Process(patch, steps)
                with contextlib.suppress(Killed):
                    extract(folder, clips, run=str(number))
        extract(folder, clips)
        assert content(folder) == content(whole)
        assert extract(folder, clips) == 0
        assert content(folder) == content(whole)


@settings(max_examples=25)
@given(CLIPS, st.data())
def test_a_damaged_or_missing_file_of_a_shard_is_made_again(clips, data):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "flows"
        extract(folder, clips)
        before = content(folder)
        path = data.draw(st.sampled_from(sorted((folder / SHARDS).iterdir())))
        damaged = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1
            path.write_bytes(damaged)
        else:
            path.unlink()
        assert extract(folder, clips) == 1
        assert content(folder) == before


def test_a_clip_that_kills_its_process_gets_a_status(tmp_path):
    def fatal(number, clip, add):
        if clip.file == "1.mp4":
            raise Killed
        return compute(number, clip, add)

    clips = [Clip(f"{index}.mp4", 1, "") for index in range(3)]
    (shard,) = extended([], clips, 20)
    for _ in range(3):
        with pytest.raises(Killed):
            list(compute_shard(tmp_path, shard, fatal, run="one", archived=True))
    rows = list(compute_shard(tmp_path, shard, fatal, run="one", archived=True))
    assert [row["status"] == "ok" for row in rows] == [True, False, True]
    assert "1.mp4 ended the process that read it, 3 times" in rows[1]["status"]
    assert finished_rows(tmp_path, shard) == rows
    with pytest.raises(Killed):  # another run tries again
        list(compute_shard(tmp_path, shard, fatal, run="two", archived=True))


def test_a_disk_that_is_full_finishes_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    (shard,) = extended([], [Clip("a.mp4", 3, "")], 20)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space") as raised:
        list(compute_shard(tmp_path, shard, compute, run="one", archived=True))
    assert raised.value.filename == str(tmp_path / "00000.zip")
    assert finished_rows(tmp_path, shard) is None
    assert not list(tmp_path.glob("*.zip"))


def test_table(tmp_path):
    clips = [Clip("a.mp4", 3, ""), Clip("b.mp4", 19, "")]
    extract(tmp_path / "flows", clips)
    rows = read_table(tmp_path / "flows")
    assert [(row["file"], row["folder"]) for row in rows] == [
        ("a.mp4", "shards/00000.zip/0"),
        ("b.mp4", "shards/00001.zip/1"),
    ]
