"""The score of clips whose motion is known."""

import math
from fractions import Fraction

import numpy as np
import pytest

import engine
from engine.bundle.manifest import read_manifest
from engine.video.frame import Frame
from engine.video.score import Cut, Tally, score_clip
from tests.support.fake_backend import FakeBackend


def tally(*flows, size=(64, 96)):
    total = Tally(*size)
    for flow in flows:
        total.add(flow)
    return total.score(frames=len(flows) + 1, cuts=())


def constant(x, y, size=(64, 96)):
    return np.broadcast_to(np.float32([x, y]), (*size, 2)).copy()


def test_a_pan_is_camera_motion():
    score = tally(constant(3, 4), constant(-6, 8))
    assert score.mean == pytest.approx(7.5)
    assert score.median == pytest.approx(5, rel=0.012)
    assert score.p95 == pytest.approx(10, rel=0.012)
    assert score.moving == 1
    assert score.camera == pytest.approx(7.5)
    assert score.object == pytest.approx(0, abs=1e-6)


def test_an_object_over_a_still_background():
    """An eighth of the pixels moves by 10 px; 0.1 % of the diagonal is 0.12 px."""
    flow = constant(0, 0)
    flow[16:48, 24:48] = 6, 8
    score = tally(flow)
    assert score.mean == pytest.approx(10 / 8)
    assert (score.median, score.moving) == (0, 1 / 8)
    assert score.p95 == pytest.approx(10, rel=0.012)
    assert score.camera == pytest.approx(0, abs=0.01)
    assert score.object == pytest.approx(10 / 8, abs=0.01)


def test_an_object_under_a_zooming_camera():
    """The zoom of 1.02 about the corner is affine; the object deviates from it by 20 px."""
    rows, columns = np.mgrid[:64, :96]
    flow = np.dstack([columns, rows]).astype(np.float32) * np.float32(0.02)
    camera = np.linalg.norm(flow[::4, ::4], axis=-1).mean()
    flow[16:48, 24:48, 0] += 20
    score = tally(flow)
    assert score.camera == pytest.approx(camera, abs=0.05)
    assert score.object == pytest.approx(20 / 8, abs=0.05)


def test_motion_of_smaller_frames_is_in_pixels_of_the_clip():
    """Twice as large; then 20 times, where the threshold is 2.2 px of 1080x1920."""
    size = (54, 96)
    score = tally(constant(3, 0, size), size=(108, 192))
    assert score.mean == pytest.approx(6)
    assert score.camera == pytest.approx(6)
    just = 1e-3 * math.hypot(1080, 1920) / 20
    for factor, moving in ((0.99, 0), (1.01, 1)):
        assert tally(constant(just * factor, 0, size), size=(1080, 1920)).moving == moving, factor


def test_unknown_flow_does_not_count():
    half = constant(3, 4)
    half[:32] = np.nan
    assert tally(half).mean == pytest.approx(5)
    assert math.isnan(tally(constant(np.nan, 0)).mean)


def test_shares_of_the_diagonal_and_unknown_values():
    """108x144: the diagonal is 180."""
    flat = tally(constant(9, 0, (108, 144)), size=(108, 144)).to_json()
    assert (flat["mean_px"], flat["mean"], flat["moving"]) == (9, 0.05, 1)
    nothing = Tally(108, 144).score(frames=2, cuts=[Cut(1, 0.04)]).to_json()
    assert nothing["mean"] is nothing["p95_px"] is nothing["moving"] is None
    assert nothing["cuts"] == [{"frame": 1, "time": 0.04}]


class Clip:
    """Frames in memory, 25 a second."""

    def __init__(self, images):
        self.height, self.width, _ = images[0].shape
        self.images = images

    def __iter__(self):
        for index, image in enumerate(self.images):
            yield Frame(f"{index:06d}", Fraction(index, 25), image)


def test_cuts_of_a_clip(tiny_bundle, rng):
    """Still scenes of 3, 1 and 4 frames: cuts at frames 3 and 4, times the stride of the reader."""
    blocks = rng.integers(0, 80, (3, 8, 12, 3)) + np.array([0, 85, 170]).reshape(3, 1, 1, 1)
    scenes = blocks.astype(np.uint8).repeat(16, 1).repeat(16, 2)
    images = [*[scenes[0]] * 3, scenes[1], *[scenes[2]] * 4]
    calls = []
    with engine.FlowEngine(read_manifest(tiny_bundle), FakeBackend()) as still:
        score = score_clip(
            Clip(images), still, max_side=64, stride=5, progress=lambda: calls.append(1)
        )
    assert score.cuts == (Cut(15, 0.12), Cut(20, 0.16))
    assert (score.frames, score.mean, len(calls)) == (8, 0, 7)


def test_a_pan_seen_by_the_network(rng):
    """A texture that moves 3 px left a frame."""
    canvas = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    images = [canvas[:, 3 * index : 3 * index + 256] for index in range(4)]
    with engine.load(backend="onnxruntime", threads=1) as flow_engine:
        score = score_clip(Clip(images), flow_engine, max_side=512)
    assert score.cuts == ()
    assert score.mean == pytest.approx(3, rel=0.1)
    assert score.median == pytest.approx(3, rel=0.1)
    assert score.camera == pytest.approx(3, rel=0.1)
    assert score.object < 0.3
