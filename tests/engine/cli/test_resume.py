"""``flow video`` after an interruption: what was finished stays, and the same command goes on."""

import os

import numpy as np
import pytest

from engine.cli.main import main
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
