"""``flow score``."""

import itertools
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest

from engine.cli.main import main
from engine.images import write_image
from engine.store.writer import write_store
from tests.support.videos import levels, write_clip


@pytest.fixture
def images(rng):
    """Three frames with the same colours elsewhere, which are no cuts."""
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return [np.roll(image, index, axis=1) for index in range(3)]


@pytest.fixture
def clips(tmp_path, images):
    folder = tmp_path / "clips"
    (folder / "pictures").mkdir(parents=True)
    write_clip(folder / "a.mp4", levels(4))
    for index, image in enumerate(images):
        write_image(folder / "pictures" / f"{index}.png", image)
    return folder


def score(bundle, *arguments):
    command = ["score", "--bundle", str(bundle), "--backend", "onnxruntime", "--threads", "1"]
    return main([*command, *map(str, arguments)])


def test_one_object_a_line(clips, images, tiny_bundle, tiny_flow, capsys):
    assert score(tiny_bundle, clips, "--json") == 0
    video, pictures = map(json.loads, capsys.readouterr().out.splitlines())
    assert video["file"] == str(clips / "a.mp4")
    assert pictures["file"] == str(clips / "pictures")
    assert (video["status"], video["frames"], pictures["frames"]) == ("ok", 4, 3)
    lengths = [np.linalg.norm(tiny_flow(*pair), axis=-1) for pair in itertools.pairwise(images)]
    expected = np.mean([length[::4, ::4] for length in lengths])
    assert pictures["mean_px"] == pytest.approx(expected, rel=1e-4)
    assert pictures["mean"] == pytest.approx(expected / 80, rel=1e-4)  # 48x64


def test_levels_of_16_bit_pictures(clips, images, tiny_bundle, capsys):
    folder = clips / "pictures"
    assert score(tiny_bundle, folder, "--json") == 0
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), 51000 + image[..., ::-1].astype(np.uint16))
    assert score(tiny_bundle, folder, "--json") == 1
    assert score(tiny_bundle, folder, "--json", "--levels", "51000:51255") == 0
    eight, refused, sixteen = map(json.loads, capsys.readouterr().out.splitlines())
    assert sixteen == eight
    assert "--levels LOW:HIGH" in refused["status"]


def test_what_cannot_be_read_has_a_status(clips, tiny_bundle, capsys):
    (clips / "bad.mov").write_bytes(b"text")
    assert score(tiny_bundle, clips, clips / "missing.mp4", "--json", "--stride", "2") == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    states = {entry["file"].rpartition("/")[2]: entry["status"] for entry in found}
    assert states["a.mp4"] == states["pictures"] == "ok"
    assert "bad.mov cannot be opened as a video" in states["bad.mov"]
    assert "missing.mp4 does not exist; expected a video file." in states["missing.mp4"]
    assert "notes" not in next(entry for entry in found if entry["status"] != "ok")


def test_table(clips, tiny_bundle, capsys):
    (clips / "empty").mkdir()
    assert score(tiny_bundle, clips) == 1
    output, error = capsys.readouterr()
    heading, video, pictures = output.splitlines()
    assert heading.split() == [
        *("frames", "mean", "median", "p95", "%diag", "%moving", "camera", "object", "cuts", "clip")
    ]
    assert video.split()[0] == "4"
    assert video.endswith(str(clips / "a.mp4"))
    assert pictures.split()[0] == "3"
    assert error.startswith(f"flow: {clips / 'empty'} contains no clip; expected videos, pictures")


def test_a_store_needs_no_inference(tiny_bundle, tmp_path, capsys):
    """Flow of 6 and 8 px; the frames are not known, so cuts are not either."""
    pytest.importorskip("numcodecs", reason="an optional extra")
    path = tmp_path / "clips" / "a.zarr"
    path.parent.mkdir()
    with write_store(path, (48, 64), source="a", time_base=Fraction(1, 25)) as store:
        for index in range(2):
            flow = np.broadcast_to(np.float32([6, 8]), (48, 64, 2)) * (index + 1)
            store.append(flow, name=f"{index}", times=(Fraction(index), Fraction(index + 1)))
    assert score(tiny_bundle, path.parent, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["frames"], found["cuts"]) == (str(path), 3, None)
    assert (found["mean_px"], found["camera_px"]) == pytest.approx((15, 15))
    assert score(tiny_bundle, path, "--stride", "2") == 1
    assert "is a store of the flow from each frame to the next" in capsys.readouterr().err
