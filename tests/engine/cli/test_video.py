"""``flow video`` and ``flow folder``."""

import itertools
import os
from fractions import Fraction

import cv2
import numpy as np
import pytest

from engine.backends.onnxruntime.backend import OnnxRuntimeBackend
from engine.cli.main import main
from engine.data.listing import pictures
from engine.flow.colour import flow_to_color
from engine.flow.formats import read_flow
from engine.images import read_image, read_scene, write_image
from engine.video.picture_reader import PictureReader
from engine.video.reader import VideoReader
from tests.support.videos import panning, write_clip

TIMES = [0, 40, 100, 220, 230, 300]


def scene(rng, count=6, height=48, width=64):
    """Smooth coloured images, of which codecs change little."""
    corners = rng.integers(40, 216, (count, 2, 2, 3)).astype(np.float64)
    y, x = (np.linspace(0, 1, side)[:, None] for side in (height, width))
    rows = corners[:, 0, None] * (1 - y[..., None]) + corners[:, 1, None] * y[..., None]
    images = rows[:, :, 0, None] * (1 - x) + rows[:, :, 1, None] * x
    return list(images.round().astype(np.uint8))


@pytest.fixture
def clip(tmp_path, rng):
    return write_clip(tmp_path / "clip.mkv", scene(rng), times=TIMES)


@pytest.fixture
def folder(tmp_path, rng):
    """Three pictures, of which the third comes first in alphabetical order."""
    path = tmp_path / "frames"
    path.mkdir()
    for name, image in zip(("frame2", "frame9", "frame10"), scene(rng, 3), strict=True):
        write_image(path / f"{name}.png", image)
    return path


@pytest.fixture
def flow(tiny_bundle):
    def run(*arguments):
        options = ["--bundle", tiny_bundle, "--backend", "onnxruntime", "--threads", 1]
        return main([str(argument) for argument in (*arguments, *options)])

    return run


def decoded(path):
    with VideoReader(path) as video:
        return list(video)


def test_video_pictures_and_flow_files(clip, flow, tmp_path, tiny_flow, capsys):
    outputs = [tmp_path / name for name in ("out.mp4", "pictures", "flow")]
    scaled = ("--scale", 60)
    assert flow("video", clip, "-o", outputs[1], *scaled) == 0
    capsys.readouterr()
    files = ("--flow", outputs[2], "--format", ".npy")
    assert flow("video", clip, "-o", outputs[0], *files, *scaled) == 0
    sources, frames = decoded(clip), decoded(outputs[0])
    assert [frame.time for frame in frames] == [Fraction(time, 1000) for time in TIMES[:-1]]
    names = [f"{index:06d}" for index in range(5)]
    assert sorted(os.listdir(outputs[1])) == [f"{name}.png" for name in names]
    assert sorted(os.listdir(outputs[2])) == [f"{name}.npy" for name in names]
    means = []
    for index, name in enumerate(names):
        expected = tiny_flow(sources[index].image, sources[index + 1].image)
        found, _ = read_flow(outputs[2] / f"{name}.npy")
        np.testing.assert_allclose(found, expected, atol=1e-4)
        colors = flow_to_color(expected, max_magnitude=60)
        picture = read_image(outputs[1] / f"{name}.png")
        assert np.abs(picture.astype(int) - colors).max() <= 1
        # The codec halves the resolution of the colours and rounds.
        assert np.abs(frames[index].image.astype(int) - colors).mean() < 3
        means.append(np.linalg.norm(expected, axis=-1)[::4, ::4].mean())
    summary, scale, *written = capsys.readouterr().out.splitlines()
    assert summary.startswith(f"5 flows of 48x64, mean motion {np.mean(means):.2f} px; ")
    assert summary.endswith(" frames/s; tiny fp32, onnxruntime on cpu")
    assert scale == "full colour at 60 px (--scale 60 repeats it)"
    assert written == [f"wrote {outputs[index]}" for index in (0, 2)]


def test_a_part_begins_at_zero(clip, flow, tmp_path):
    output = tmp_path / "out.mp4"
    assert flow("video", clip, "-o", output, "--start", "0.1", "--end", "0.3") == 0
    assert [frame.time for frame in decoded(output)] == [0, Fraction(120, 1000)]


def test_the_default_scale_covers_the_sequence(clip, flow, tmp_path, tiny_flow, capsys):
    assert flow("video", clip, "-o", tmp_path / "out.mp4") == 0
    images = [frame.image for frame in decoded(clip)]
    pairs = itertools.pairwise(images)
    flows = np.array([tiny_flow(one, two)[::4, ::4] for one, two in pairs])
    exact = np.percentile(np.linalg.norm(flows, axis=-1), 99)
    scale = float(capsys.readouterr().out.splitlines()[1].split()[3])
    assert exact * 0.98 < scale < exact * 1.05


def test_a_folder_in_natural_order(folder, flow, tmp_path, tiny_flow):
    output = tmp_path / "out.mp4"
    assert flow("folder", folder, "--flow", tmp_path / "flow", "-o", output, "--fps", 10) == 0
    assert [frame.time for frame in decoded(output)] == [0, Fraction(1, 10)]
    images = [read_image(folder / f"frame{number}.png") for number in (2, 9, 10)]
    for name, one, two in zip(("frame2", "frame9"), images, images[1:], strict=False):
        found, _ = read_flow(tmp_path / "flow" / f"{name}.flo")
        np.testing.assert_allclose(found, tiny_flow(one, two), atol=1e-4)


def test_nothing_is_overwritten_unless_forced(clip, flow, tmp_path, capsys):
    (tmp_path / "flow").mkdir()
    for path in (tmp_path / "out.mp4", tmp_path / "flow" / "000000.flo"):
        path.write_bytes(b"before")
    for option, name, found in (
        ("-o", "out.mp4", "exists; expected a new name"),
        ("--flow", "flow", "exists and contains files; expected a new name"),
    ):
        assert flow("video", clip, option, tmp_path / name) == 1
        assert f"{name} {found}. Give another, or --force to overwrite." in capsys.readouterr().err
        assert flow("video", clip, option, tmp_path / name, "--force") == 0
    assert len(decoded(tmp_path / "out.mp4")) == 5
    assert read_flow(tmp_path / "flow" / "000000.flo")[0].shape == (48, 64, 2)


def test_faults_of_the_video_are_reported(tmp_path, rng, flow, capsys):
    images = list(rng.integers(0, 256, (50, 48, 64, 3), np.uint8))
    path = write_clip(tmp_path / "clip.mkv", images)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert flow("video", path, "--flow", tmp_path / "flow") == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"flow: note: {path} breaks off after ")
    assert f"{len(os.listdir(tmp_path / 'flow'))} flows of 48x64" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to write; expected -o OUT, --flow DIR or more"),
        (["-o", "out.avi"], "out.avi: a video cannot be written as '.avi'; expected one of .mp4"),
        (["-o", "no/out.mp4"], "no is not a folder. Create it."),
        (["-o", "clip.mkv", "--force"], "clip.mkv is also an input; expected another name"),
        (["--flow", "clip.mkv"], "clip.mkv is a file; expected a folder. Give another name."),
        (["--flow", "a", "--overlay", "a"], "a is also another output; expected another name"),
        (["--flow", "a", "--start", "7"], "no frame from 7 s to the end (it lasts 0.3 s)"),
        (
            ["--flow", "a", "--start", "2", "--end", "1"],
            "start is 2.0 s and end is 1.0 s",
        ),
    ],
)
def test_bad_arguments_leave_nothing(clip, flow, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("engine.load", lambda *_, **__: pytest.fail("the engine was opened"))
    before = clip.read_bytes()
    assert flow("video", "clip.mkv", *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flow: ")
    assert message in line
    assert os.listdir(tmp_path) == ["clip.mkv"]
    assert clip.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--iterations", "4"], "iterations is 4, but tiny has no repeated updates"),
        (["--warm-start"], "tiny does not refine an initial flow, only RAFT does"),
    ],
)
def test_options_of_raft_for_another_network(clip, flow, tmp_path, capsys, arguments, message):
    assert flow("video", clip, "-o", tmp_path / "out.mp4", *arguments) == 1
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["clip.mkv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "frame9.png").write_bytes(b"no picture"),
            "frame9.png starts with",
        ),
        (
            lambda folder: write_image(folder / "frame9.png", np.zeros((9, 9, 3), np.uint8)),
            "frame9.png is 9x9, the frames before are 48x64; expected one size.",
        ),
        (
            lambda folder: [(folder / f"frame{number}.png").unlink() for number in (9, 10)],
            "frame2.png is the only picture in its folder; expected at least two frames.",
        ),
        (
            lambda folder: folder.rename(folder.with_name("other")),
            "frames does not exist; expected a folder of pictures",
        ),
        (
            lambda folder: (folder.rename(folder.with_name("other")), folder.touch()),
            "frames is not a folder; expected a folder of pictures. For a video use `flow video`",
        ),
    ],
)
def test_folders_that_cannot_be_read(folder, flow, tmp_path, capsys, change, message):
    change(folder)
    assert flow("folder", folder, "-o", tmp_path / "out.mp4") == 1
    assert message in capsys.readouterr().err
    assert [path for path in tmp_path.iterdir() if "out" in path.name] == []


def test_levels_of_16_bit_pictures(folder, flow, tmp_path):
    assert flow("folder", folder, "--flow", tmp_path / "eight") == 0
    for path in folder.iterdir():
        image = read_image(path)[..., ::-1].astype(np.uint16)
        cv2.imwrite(str(path), 1000 + image)
    assert flow("folder", folder, "--flow", tmp_path / "no") == 1
    assert flow("folder", folder, "--flow", tmp_path / "sixteen", "--levels", "1000:1255") == 0
    for path in (tmp_path / "eight").iterdir():
        assert path.read_bytes() == (tmp_path / "sixteen" / path.name).read_bytes()


def test_percentiles_of_the_first_two_pictures_are_those_of_all(folder, monkeypatch):
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *data: decoded.append(1) or decode(*data))
    files = list(pictures(folder).values())
    frames = list(PictureReader(folder, rate=Fraction(25), levels="percentile"))
    assert len(decoded) == len(files) > 2  # each once
    _, levels = read_scene(files[:2])
    for frame, path in zip(frames, files, strict=True):
        np.testing.assert_array_equal(frame.image, read_image(path, levels=levels))


def test_motion_of_the_codec_is_compensated(flow, tmp_path, capsys, monkeypatch):
    """With it, the network sees a pair only once, aligned; the flow is the motion and its own."""
    clip = write_clip(tmp_path / "clip.mp4", panning(4))
    seen = []
    run = OnnxRuntimeBackend.run

    def watched(self, first, second):
        seen.append((first.shape, np.abs(first[0, 8:-8, 8:-8].astype(int) - second[0, 8:-8, 8:-8])))
        return run(self, first, second)

    monkeypatch.setattr(OnnxRuntimeBackend, "run", watched)
    arguments = ("video", clip, "--flow", tmp_path / "flow", "--compensate-motion")
    assert flow(*arguments) == 0
    assert (
        "motion vectors of the video gave the global motion of 3 flows" in capsys.readouterr().out
    )
    assert [shape for shape, _ in seen] == [(1, 128, 192, 3)] * 3
    assert max(difference.mean() for _, difference in seen) < 10  # of 30 without alignment
