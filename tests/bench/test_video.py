"""What ``flow video`` costs beside decoding and inference."""

import json

import pytest

from bench import video
from bench.clips import make_clip
from engine.bundle.manifest import read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.video.reader import VideoReader


def test_the_ratio_is_to_both_alone(tmp_path, monkeypatch, capsys):
    seconds = {"decode": iter([1.0, 1.0, 2.0]), "infer": iter([3.0, 3.0, 6.0])}
    commands = iter([4.4, 4.0, 8.4])  # 1.1, 1.0 and 1.05 times

    def run(command):
        alone = command[command.index("--alone") + 1] if "--alone" in command else None
        taken = next(seconds[alone] if alone else commands)
        return {"seconds": taken, "cpu_seconds": 2 * taken, "peak_mib": 100.0}

    monkeypatch.setattr(video, "_run", run)
    path = tmp_path / "result.json"
    assert video.main(["--make", "32x48x3", "--rounds", "3", "--json", str(path)]) == 0
    decode, infer, colours = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in (decode, infer, colours)] == [
        "decode",
        "infer",
        "flow video --output",
    ]
    assert colours["seconds"] == 4.4
    assert colours["ratio"] == pytest.approx(1.05)
    assert decode["ratio"] == pytest.approx(0.25)
    assert capsys.readouterr().out.splitlines()[-2].split()[-1] == "1.050"


def test_every_process_takes_the_bundle(tmp_path, monkeypatch):
    asked = []

    def run(command):
        asked.append(command[command.index("--bundle") + 1])
        return {"seconds": 1.0, "cpu_seconds": 1.0, "peak_mib": 100.0}

    monkeypatch.setattr(video, "_run", run)
    path = tmp_path / "result.json"
    options = ["--rounds", "1", "--bundle", "default", "--json", str(path)]
    assert video.main(["--make", "32x48x3", *options]) == 0
    assert asked == [str(DEFAULT_BUNDLE)] * 3
    assert json.loads(path.read_text())["network"] == read_manifest(DEFAULT_BUNDLE).network


def test_a_bundle_that_is_missing(capsys):
    assert video.main(["--make", "32x48x3", "--bundle", "nowhere"]) == 2
    assert "error: nowhere is not a bundle" in capsys.readouterr().err


def test_a_clip_and_both_alone(tmp_path):
    path = tmp_path / "clip.mp4"
    make_clip(path, 32, 48, 5)
    with VideoReader(path) as frames:
        assert len(list(frames)) == 5


def test_a_clip_that_is_missing(tmp_path, capfd):
    missing = str(tmp_path / "no.mp4")
    assert video.main([missing]) == 2
    errors = capfd.readouterr().err
    assert f"error: {missing} does not exist; expected a video file." in errors
    assert "failed with status 2; its message is above." in errors


@pytest.mark.parametrize("size", ["1080x1920", "31x48x3", "32x48x2", "axbxc"])
def test_bad_sizes(size, capsys):
    assert video.main(["--make", size]) == 2
    assert size in capsys.readouterr().err
