"""``flow video`` after an interruption: what was finished stays, and the same command goes on."""

import errno
import json
import os
from contextlib import contextmanager

import numpy as np
import pytest

from engine.cli import sequence
from engine.cli.main import main
from engine.flow.formats import read_flow
from engine.images import read_image
from engine.store.reader import FlowStore
from engine.video.journal import Journal
from engine.video.reader import VideoReader
from engine.video.writer import VideoWriter
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


def test_a_complete_output_that_was_taken_away(tmp_path, flow, monkeypatch):
    """Somebody makes space on a full disk, between the run that filled it and the next one."""
    from engine.video.outputs import movie

    def fail(path, parts):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "c.mp4")

    arguments = ["-o", tmp_path / "c.mp4", "--overlay", tmp_path / "o.gif"]
    arguments += ["--flow", tmp_path / "flow", "--store", tmp_path / "s.zarr"]
    (tmp_path / "taken").mkdir()
    for taken in ("o.gif", "flow/000006.flo", "s.zarr"):
        with monkeypatch.context() as patched:
            patched.setattr(movie, "join", fail)
            assert flow(*arguments, "--force") == 1
        (tmp_path / taken).rename(tmp_path / "taken" / os.path.basename(taken))
        assert flow(*arguments) == 0
        assert len(frames(tmp_path / "c.mp4")) == len(frames(tmp_path / "o.gif")) == 7
        assert len(FlowStore(tmp_path / "s.zarr")) == len(os.listdir(tmp_path / "flow")) == 7


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


def test_an_old_video_is_not_taken_for_the_new_one(tmp_path, flow, monkeypatch, capsys):
    """After one flow nothing of the new one is kept, so nothing but its name tells them apart."""
    path = tmp_path / "c.mp4"
    assert flow("-o", path, "--end", 0.1) == 0
    old, written, write = path.read_bytes(), [], VideoWriter.write

    def interrupted(video, *arguments, **named):
        if written:
            raise KeyboardInterrupt
        written.append(video)
        write(video, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(VideoWriter, "write", interrupted)
        assert flow("-o", path, "--force") == 130
    assert capsys.readouterr().err == "flow: interrupted; no flow is kept.\n"
    assert path.read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["c.mp4", "clip.mkv"]
    assert flow("-o", path, "--force") == 0
    assert len(frames(path)) == 7


@pytest.mark.parametrize("shared", [("--overlay", "o.mp4"), ("--store", "s.zarr")])
def test_what_another_command_completes_in_between(tmp_path, flow, stop, capsys, shared):
    stop("000003", KeyboardInterrupt())
    option, path = shared[0], tmp_path / shared[1]
    arguments = ["-o", tmp_path / "c.mp4", "--flow", tmp_path / "flow", option, path, "--force"]
    assert flow(*arguments) == 130
    assert "3 flows are kept" in capsys.readouterr().err
    assert flow(option, path, "--stride", 2, "--force") == 0
    assert flow(*arguments) == 0
    if option == "--store":
        expected = np.stack([TIMES[:-1], TIMES[1:]], axis=1) / 1000
        np.testing.assert_allclose(FlowStore(path).times, expected)
    else:
        assert len(frames(path)) == 7


@contextmanager
def interrupted_bar(*arguments, **named):
    """Ctrl-C when progress is shown: between two flows."""

    def advance(text):
        raise KeyboardInterrupt

    yield advance


def test_an_interruption_right_after_the_first_flow(tmp_path, flow, monkeypatch, capsys):
    """Whatever instruction it comes at, a flow that counts has all that is needed to go on."""
    arguments = ["-o", tmp_path / "c", "--flow", tmp_path / "flow"]
    with monkeypatch.context() as patched:
        patched.setattr(sequence, "progress_bar", interrupted_bar)
        assert flow(*arguments) == 130
    assert "1 flows are kept" in capsys.readouterr().err
    assert flow(*arguments) == 0
    assert capsys.readouterr().err == "flow: note: 1 flows are there from an interrupted run\n"


def test_an_interruption_without_outputs(flow, monkeypatch, capsys):
    monkeypatch.setattr(sequence, "progress_bar", interrupted_bar)
    assert flow("--show") == 130
    assert capsys.readouterr().err == "flow: interrupted; it cannot be continued.\n"


def test_an_interruption_when_all_is_complete(tmp_path, flow, monkeypatch, capsys):
    def interrupted(journal):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", interrupted)
        assert flow(*outputs(tmp_path / "found")) == 130
    assert flow(*outputs(tmp_path / "found")) == 0
    assert "7 flows are there from an interrupted run" in capsys.readouterr().err
    assert flow(*outputs(tmp_path / "expected")) == 0
    assert_same(tmp_path / "found", tmp_path / "expected")


@pytest.mark.parametrize(
    ("name", "value"), [("scale", []), ("scale", [0]), ("complete", [3]), ("complete", "c.mp4")]
)
def test_a_damaged_journal_is_of_no_use(tmp_path, flow, stop, capsys, name, value):
    stop("000003", KeyboardInterrupt())
    arguments = ["-o", tmp_path / "c.mp4", "--flow", tmp_path / "flow"]
    assert flow(*arguments) == 130
    journal = tmp_path / ".c.mp4.journal.json"
    content = json.loads(journal.read_text())
    content["progress"][name] = value
    journal.write_text(json.dumps(content))
    capsys.readouterr()
    assert flow(*arguments, "--force") == 0
    assert capsys.readouterr().err == ""
    assert len(frames(tmp_path / "c.mp4")) == 7


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
