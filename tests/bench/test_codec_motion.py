"""The clips of a moving camera, their true flow, and the command."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bench import codec_motion
from bench.codec_motion import camera, main, ms_per_flow, score, true_flow, view
from engine.flow.affine import translation
from engine.images.sampling import interpolated
from engine.video.frame import Frame
from engine.video.pipeline import FlowFrame


def test_the_true_flow_leads_to_the_same_point_of_the_photograph(rng):
    """A smooth photograph, so that interpolation changes little."""
    y, x = np.mgrid[:400, :600]
    photo = np.stack([x / 3, y / 2, 100 + 50 * np.sin(x / 40)], axis=-1).astype(np.uint8)
    motions = [camera(index, 2.0, 64, 96) for index in (3, 4)]
    first, second = (view(photo, motion, 64, 96).astype(int) for motion in motions)
    flow = true_flow(*motions, 64, 96)
    assert np.linalg.norm(flow, axis=-1).mean() > 3
    rows, columns = np.mgrid[16:48, 24:72]
    found = interpolated(
        second.astype(np.uint8), columns + flow[16:48, 24:72, 0], rows + flow[16:48, 24:72, 1]
    )
    assert np.abs(found - first[16:48, 24:72]).max() <= 2


def test_the_camera_looks_at_the_centre_of_the_photograph_at_first():
    """After no time: not turned, not moved, zoomed by exp(0.15 sin 1)."""
    motion = camera(0, 1.0, 64, 96)
    zoom = np.exp(0.15 * np.sin(1))
    np.testing.assert_allclose(motion, [[zoom, 0, -47.5 * zoom], [0, zoom, -31.5 * zoom]])


def test_the_error_is_that_of_pixels_that_stay():
    """Of 4x10 pixels that move by 3 to the right, 7 columns stay; their flow is 1 px too long."""
    truth = true_flow(translation(0, 0), translation(-3, 0), 4, 10)
    assert np.unique(truth.reshape(-1, 2), axis=0).tolist() == [[3, 0]]
    flow = truth + np.float32([1, 0])
    flow[:, 7:] += 100
    image = np.zeros((4, 10, 3), np.uint8)
    first, second = Frame("0", 0, image), Frame("1", 1, image, translation(3, 0))
    steps = [FlowFrame(first, second, flow, 0), FlowFrame(second, first, flow, 1)]
    assert score(steps, [truth, truth]) == {"epe_px": 1, "known": 1}


def test_the_time_of_a_flow(monkeypatch):
    """0.6 s for three flows are 200 ms a flow."""
    clock = iter([10.0, 10.6])
    watch = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr(codec_motion, "time", watch)
    assert ms_per_flow(iter("abc")) == pytest.approx(200)


def test_the_command(tiny_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codec_motion, "PHOTOS", ("rocket",))
    file = tmp_path / "result.json"
    options = ["--bundle", tiny_bundle, "--backend", "onnxruntime", "--threads", 1]
    options += ["--size", "64x96", "--frames", 4, "--json", file]
    assert main([str(option) for option in options]) == 0
    result = json.loads(file.read_text())
    assert result["setting"] == {"height": 64, "width": 96, "frames": 4, "speed": 1.0,
                                 "backend": "onnxruntime"}  # fmt: skip
    rows = {row["method"]: row for row in result["rows"]}
    assert list(rows) == ["none", "pre-pass", "codec"]
    assert [row["known"] for row in rows.values()][:2] == [0, 0]
    assert all(row["motion_px"] > 1 for row in rows.values())
    assert "64x96, motion" in capsys.readouterr().out


def test_errors_of_the_command(tmp_path, capsys):
    assert main(["--frames", "1"]) == 2
    assert "expected a whole number from 2" in capsys.readouterr().err
    assert main(["--bundle", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
