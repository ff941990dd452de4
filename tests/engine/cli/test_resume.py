"""``flow video`` after an interruption: what was finished stays, and the same command goes on."""

import errno
import json
import os

import numpy as np
import pytest

from engine.cli.main import main
from engine.flow.formats import read_flow
from engine.images import read_image
from engine.store.reader import FlowStore
from engine.video.reader import VideoReader
from tests.support.videos import write_clip

TIMES = [0, 40, 100, 220, 230, 300, 340, 390]


@pytest.fixture
def clip(tmp_path, rng):
    """Grey frames of different brightness, of which codecs change little."""
    images = [np.full((48, 64, 3), level, np.uint8) for level in rng.integers(40, 216, 8)]
    return write_clip(tmp_path / "clip.mkv", images, times=TIMES)


@pytest.fixture
def flow(tiny_bundle, clip):
    def run(*arguments):
        options = ["--bundle", tiny_bundle, "--backend", "onnxruntime", "--threads", 1]
        return main([str(argument) for argument in ("video", clip, *arguments, *options)])

    return run


@pytest.fixture
def stop(monkeypatch):
    """Let writing flow files fail at the flow of this number, once."""
    from engine.video.outputs import flow_files

    written = []
    write_flow = flow_files.write_flow

    def at(name, error):
        def write(path, values):
            if path.stem == name and error not in written:
                written.append(error)
                raise error
            written.append(path.stem)
            write_flow(path, values)

        monkeypatch.setattr(flow_files, "write_flow", write)
        return written

    return at


def outputs(folder):
    """Options of outputs of every kind; in each, what was finished is known in another way."""
    names = {"-o": "c.mp4", "--side-by-side": "s.gif", "--arrows": "arrows", "--flow": "flow"}
    names["--store"] = "s.zarr"
    folder.mkdir(exist_ok=True)
    return [part for option, name in names.items() for part in (option, folder / name)]


def frames(path):
    with VideoReader(path) as video:
        return list(video)


def assert_same(found, expected):
    assert sorted(os.listdir(found)) == sorted(os.listdir(expected))
    for name in ("c.mp4", "s.gif"):
        pairs = list(zip(frames(found / name), frames(expected / name), strict=True))
        assert [one.time for one, _ in pairs] == [two.time for _, two in pairs]
        for one, two in pairs:
            difference = np.abs(one.image.astype(int) - two.image).mean()
            assert difference < 3, f"{name} differs by {difference} levels at {one.time}"
    one, two = FlowStore(found / "s.zarr"), FlowStore(expected / "s.zarr")
    assert (one.info, one.names, one.pts.tolist()) == (two.info, two.names, two.pts.tolist())
    np.testing.assert_array_equal(one[:], two[:])
    for name in os.listdir(expected / "flow"):
        assert (found / "flow" / name).read_bytes() == (expected / "flow" / name).read_bytes()
    for name in os.listdir(expected / "arrows"):
        one, two = (read_image(folder / "arrows" / name) for folder in (found, expected))
        np.testing.assert_array_equal(one, two)


def test_an_interrupted_run_goes_on(tmp_path, flow, stop, capsys):
    written = stop("000003", KeyboardInterrupt())
    assert flow(*outputs(tmp_path / "whole")[:4]) == 0  # without flow files: not interrupted
    assert flow(*outputs(tmp_path / "found")) == 130
    error = capsys.readouterr().err
    assert error == "flow: interrupted; 3 flows are kept, the same command goes on after them.\n"
    visible = [name for name in os.listdir(tmp_path / "found") if name[0] != "."]
    assert sorted(visible) == ["arrows", "flow"]
    assert len(os.listdir(tmp_path / "found" / "flow")) == 3
    del written[:-1]
    assert flow(*outputs(tmp_path / "found")) == 0
    printed = capsys.readouterr()
    assert printed.err == "flow: note: 3 flows are there from an interrupted run\n"
    assert printed.out.startswith("7 flows of 48x64, mean motion ")
    assert written[1:] == [f"{index:06d}" for index in range(3, 7)]
    assert flow(*outputs(tmp_path / "expected")) == 0
    assert_same(tmp_path / "found", tmp_path / "expected")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path, flow, stop, capsys, number):
    stop("000002", OSError(number, os.strerror(number), "flow/000002.flo"))
    found = ["--flow", tmp_path / "flow", "-o", tmp_path / "c.mp4"]
    assert flow(*found) == 1
    assert capsys.readouterr().err == (
        f"flow: flow/000002.flo cannot be written: {os.strerror(number)}; 2 flows are kept, the "
        "same command goes on after them. Free some space.\n"
    )
    assert flow(*found) == 0
    assert "2 flows are there" in capsys.readouterr().err
    assert len(frames(tmp_path / "c.mp4")) == len(os.listdir(tmp_path / "flow")) == 7


def test_a_disk_that_is_full_from_the_start(tmp_path, flow, stop, capsys):
    stop("000000", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "flow/000000.flo"))
    assert flow("--flow", tmp_path / "flow", "-o", tmp_path / "c.mp4") == 1
    assert "; no flow is kept. Free some space.\n" in capsys.readouterr().err
    assert flow("--flow", tmp_path / "flow", "-o", tmp_path / "c.mp4") == 0
    assert capsys.readouterr().err == ""


def test_a_disk_that_is_full_in_the_video(tmp_path, flow, capsys):
    """A limit of the size of files fails as a full disk does."""
    resource = pytest.importorskip("resource", reason="limits of resources are of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        assert flow("-o", tmp_path / "c.mkv") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "c.mkv cannot be written: File too large; no flow is" in capsys.readouterr().err
    assert flow("-o", tmp_path / "c.mkv") == 0
    assert len(frames(tmp_path / "c.mkv")) == 7
    assert sorted(os.listdir(tmp_path)) == ["c.mkv", "clip.mkv"]


def test_a_disk_that_is_full_when_videos_are_completed(tmp_path, flow, monkeypatch, capsys):
    from engine.video.outputs import movie

    def fail(path, parts):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "c.mp4")

    arguments = ["-o", tmp_path / "c.mp4", "--overlay", tmp_path / "o.gif"]
    with monkeypatch.context() as patched:
        patched.setattr(movie, "join", fail)
        assert flow(*arguments) == 1
    assert "6 flows are kept, the same command goes on after them" in capsys.readouterr().err
    finished = (tmp_path / "o.gif").read_bytes()
    assert flow(*arguments) == 0
    assert "6 flows are there from an interrupted run" in capsys.readouterr().err
    assert (tmp_path / "o.gif").read_bytes() == finished
    assert len(frames(tmp_path / "c.mp4")) == 7
    assert sorted(os.listdir(tmp_path)) == ["c.mp4", "clip.mkv", "o.gif"]


def test_another_command_starts_anew(tmp_path, flow, stop, capsys):
    """What an interrupted run left is of use for the same source, network and settings only."""
    stop("000003", KeyboardInterrupt())
    arguments = ["--flow", tmp_path / "flow", "-o", tmp_path / "c.mp4"]
    assert flow(*arguments) == 130
    capsys.readouterr()
    assert flow(*arguments, "--end", 0.3) == 1
    assert "flow exists and contains files; expected a new name" in capsys.readouterr().err
    assert flow(*arguments, "--end", 0.3, "--force") == 0
    assert capsys.readouterr().err == ""
    assert len(frames(tmp_path / "c.mp4")) == 4


def test_a_changed_video_starts_anew(tmp_path, clip, flow, stop, capsys):
    stop("000003", KeyboardInterrupt())
    assert flow("--flow", tmp_path / "flow") == 130
    os.utime(clip, (1, 1))
    capsys.readouterr()
    assert flow("--flow", tmp_path / "flow") == 1
    assert "contains files" in capsys.readouterr().err


def test_a_crash_loses_what_the_journal_does_not_know(tmp_path, flow, stop):
    stop("000004", KeyboardInterrupt())
    assert flow("--flow", tmp_path / "flow") == 130
    journal = tmp_path / ".flow.journal.json"
    content = json.loads(journal.read_text())
    assert content["progress"]["flows"] == 4
    (tmp_path / "flow" / "000003.flo").unlink()
    (tmp_path / "flow" / "000002.flo").write_bytes(b"changed")
    assert flow("--flow", tmp_path / "flow") == 0
    assert (tmp_path / "flow" / "000002.flo").read_bytes() == b"changed"  # finished: not redone
    assert read_flow(tmp_path / "flow" / "000003.flo")[0].shape == (48, 64, 2)
    assert not journal.exists()
