"""Flow from frame to frame, with threads that end."""

import weakref
from fractions import Fraction

import numpy as np
import pytest

import engine
from engine.errors import InputError
from engine.video.frame import Frame
from engine.video.pipeline import flow_frames


@pytest.fixture
def frames(rng):
    images = rng.integers(0, 256, (6, 48, 64, 3), np.uint8)
    return [Frame(str(index), Fraction(index, 25), image) for index, image in enumerate(images)]


@pytest.fixture
def flow_engine(tiny_bundle):
    with engine.load(tiny_bundle, backend="onnxruntime", threads=1) as opened:
        yield opened


def test_each_frame_with_the_next(frames, flow_engine, tiny_flow, new_threads):
    steps = list(flow_frames(iter(frames), flow_engine))
    assert [(step.first.name, step.second.name) for step in steps] == [
        (str(index), str(index + 1)) for index in range(5)
    ]
    for step in steps:
        expected = tiny_flow(step.first.image, step.second.image)
        np.testing.assert_allclose(step.flow, expected, atol=1e-4)
        lengths = np.linalg.norm(expected, axis=-1)[::4, ::4]
        np.testing.assert_allclose(step.magnitudes, lengths, atol=1e-4)
    assert new_threads() == []


def test_few_frames_are_alive_at_any_time(flow_engine, rng):
    images = rng.integers(0, 256, (80, 16, 16, 3), np.uint8)
    made = []

    def source():
        for index, image in enumerate(images):
            frame = Frame(str(index), Fraction(index), image)
            made.append(weakref.ref(frame))
            yield frame
            del frame

    alive = 0
    for _ in flow_frames(source(), flow_engine):
        alive = max(alive, sum(frame() is not None for frame in list(made)))
    # Two decoded frames and two flows wait; one of each is in progress, a flow is here.
    assert alive <= 10


def test_leaving_early_ends_the_threads(frames, flow_engine, new_threads):
    steps = flow_frames(iter(frames), flow_engine)
    next(steps)
    assert len(new_threads()) == 2
    steps.close()
    assert new_threads() == []


def test_an_error_of_the_source_ends_the_threads(frames, flow_engine, new_threads):
    def broken():
        yield from frames[:3]
        raise InputError("the fourth frame is missing")

    steps = flow_frames(broken(), flow_engine)
    assert [next(steps).first.name for _ in range(2)] == ["0", "1"]
    with pytest.raises(InputError, match="the fourth frame is missing"):
        next(steps)
    assert new_threads() == []


def test_an_error_of_inference_ends_the_threads(frames, flow_engine, monkeypatch, new_threads):
    def fail(first, second):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(flow_engine.backend, "run", fail)
    with pytest.raises(engine.BackendError, match="out of memory"):
        next(flow_frames(iter(frames), flow_engine))
    assert new_threads() == []
