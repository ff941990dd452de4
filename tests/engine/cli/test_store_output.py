"""``flow video --store`` and ``flow folder --store``."""

import os
from fractions import Fraction

import numpy as np
import pytest

from engine.cli.main import main
from engine.images import write_image
from engine.store.reader import FlowStore
from engine.system.files import sha256_of
from engine.video.reader import VideoReader
from tests.support.videos import write_clip

TIMES = [0, 40, 100, 220]


@pytest.fixture
def images(rng):
    return [np.full((48, 64, 3), level, np.uint8) for level in rng.integers(40, 216, 4)]


@pytest.fixture
def clip(tmp_path, images):
    return write_clip(tmp_path / "clip.mkv", images, times=TIMES)


@pytest.fixture
def flow(tiny_bundle):
    def run(*arguments):
        options = ["--bundle", tiny_bundle, "--backend", "onnxruntime", "--threads", 1]
        return main([str(argument) for argument in (*arguments, *options)])

    return run


def test_video(clip, flow, tmp_path, tiny_flow, tiny_bundle, capsys):
    path = tmp_path / "flow.zarr"
    assert flow("video", clip, "--store", path, "--store-step", "1/16") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {path}"
    assert sorted(os.listdir(tmp_path)) == ["clip.mkv", "flow.zarr"]
    store = FlowStore(path)
    assert (store.info.source, store.info.network) == ("clip.mkv", "tiny")
    assert store.info.bundle == sha256_of(tiny_bundle / "manifest.json")
    assert (store.info.complete, store.info.max_error) == (True, 1 / 32)
    assert store.names == ("000000", "000001", "000002")
    milliseconds = store.pts * store.time_base / Fraction(1, 1000)
    assert milliseconds.tolist() == [[0, 40], [40, 100], [100, 220]]
    with VideoReader(clip) as video:
        frames = [frame.image for frame in video]
    for found, one, two in zip(store, frames, frames[1:], strict=False):
        np.testing.assert_allclose(found, tiny_flow(one, two), atol=1 / 32 + 1e-4)


def test_folder(images, flow, tmp_path):
    (tmp_path / "frames").mkdir()
    for number, image in zip((2, 10, 9, 1), images, strict=True):
        write_image(tmp_path / "frames" / f"f{number}.png", image)
    assert flow("folder", tmp_path / "frames", "--store", tmp_path / "flow.zarr") == 0
    store = FlowStore(tmp_path / "flow.zarr")
    assert store.names == ("f1", "f2", "f9")
    assert store.times.tolist() == [[0, 0.04], [0.04, 0.08], [0.08, 0.12]]


def test_an_existing_store_needs_force(clip, flow, tmp_path, capsys):
    path = tmp_path / "flow.zarr"
    assert flow("video", clip, "--store", path) == 0
    assert flow("video", clip, "--store", path, "--stride", 3) == 1
    assert "flow.zarr exists and contains files; expected a new name" in capsys.readouterr().err
    assert len(FlowStore(path)) == 3
    assert flow("video", clip, "--store", path, "--stride", 3, "--force") == 0
    assert len(FlowStore(path)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "flow"], "flow does not end in .zarr; expected the name of a store"),
        (["--store", "no/flow.zarr"], "no is not a folder. Create it."),
        (["--store", "photos.zarr", "--force"], "photos.zarr exists and is no store"),
    ],
)
def test_names_that_are_refused(clip, flow, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.zarr").mkdir()
    (tmp_path / "photos.zarr" / "cat.jpg").touch()
    assert flow("video", clip, *arguments) == 1
    assert message in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["clip.mkv", "photos.zarr"]
    assert os.listdir(tmp_path / "photos.zarr") == ["cat.jpg"]


def test_flow_beyond_the_range(clip, flow, tmp_path, capsys):
    assert flow("video", clip, "--store", tmp_path / "flow.zarr", "--store-step", "1/4096") == 1
    error = capsys.readouterr().err
    assert "000000: flow of up to " in error
    step = error.split("Write it with a step of ")[1].split()[0]
    assert os.listdir(tmp_path) == ["clip.mkv"]
    assert flow("video", clip, "--store", tmp_path / "flow.zarr", "--store-step", step) == 0


def test_a_step_that_is_none(clip, flow, tmp_path, capsys):
    assert flow("video", clip, "--store", tmp_path / "flow.zarr", "--store-step", "1/60") == 2
    assert "'1/60' is not a power of two from 1/4096 to 16" in capsys.readouterr().err
