"""A camera, played by a double of OpenCV's."""

import itertools
import threading
import time
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from engine.cli.main import main
from engine.errors import InputError
from engine.video.camera import Camera
from engine.video.reader import VideoReader


class Double:
    """Sends ``count`` frames, with their number as blue and green; counts them as ``sent``."""

    count, pause, opens, sent = 10, 0.005, True, 0

    def __init__(self, number):
        self._numbers = iter(range(self.count))
        self.released = threading.Event()

    def isOpened(self):  # noqa: N802
        return self.opens

    def get(self, name):
        return 0.0 if name == cv2.CAP_PROP_FPS else None

    def read(self):
        time.sleep(self.pause)
        type(self).sent += 1
        number = next(self._numbers, None)
        if number is None:
            return False, None
        return True, np.full((48, 64, 3), (number % 256, number // 256 % 256, 255), np.uint8)  # BGR

    def release(self):
        self.released.set()


@pytest.fixture
def camera(monkeypatch):
    def plug_in(**properties):
        double = type("Double", (Double,), properties)
        monkeypatch.setattr(cv2, "VideoCapture", double)
        return double

    return plug_in


def test_frames_with_times(camera):
    may_read = threading.Semaphore(1)

    def read(double):
        assert may_read.acquire(timeout=30)
        return Double.read(double)

    camera(count=3, read=read)
    frames = []
    with Camera(0) as opened:
        assert (opened.height, opened.width, opened.rate) == (48, 64, 30)
        for frame in opened:
            frames.append(frame)
            may_read.release()
    assert [frame.name for frame in frames] == ["000000", "000001", "000002"]
    assert frames[0].time == 0
    assert all(one.time < two.time for one, two in itertools.pairwise(frames))
    assert frames[0].image[0, 0, 0] == 255  # RGB
    assert opened.faults() == ["camera 0 sends no more frames."]


def test_a_slow_reader_gets_the_newest_frame(camera):
    double = camera(count=10**9, pause=0.001)
    with Camera(0) as opened:
        seen = []
        for frame in itertools.islice(opened, 4):
            seen.append(frame.image[0, 0, 2] + 256 * int(frame.image[0, 0, 1]))
            count = double.sent
            while double.sent < count + 5:
                time.sleep(0.001)
    assert all(two - one > 2 for one, two in itertools.pairwise(seen))


def test_the_end_is_a_time(camera):
    camera(count=1000)
    with Camera(0, end=0.05) as opened:
        times = [frame.time for frame in opened]
    assert times[-1] < Fraction(1, 20)
    assert opened.faults() == []


def test_a_frame_at_the_end_is_not_read(camera, monkeypatch):
    """0.05 is a little more than 1/20 in floating point."""
    camera(pause=0.02)
    moments = itertools.count(1, 0.05)
    clock = SimpleNamespace(monotonic=lambda: next(moments))
    monkeypatch.setattr("engine.video.camera.time", clock)
    with Camera(0, end=0.05) as opened:
        assert [frame.time for frame in opened] == [0]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"opens": False}, "camera 3 cannot be opened; expected the number of a camera, from 0"),
        ({"count": 0}, "camera 3 sends no frame; expected one within 10 s"),
    ],
)
def test_no_camera(camera, properties, message):
    camera(**properties)
    with pytest.raises(InputError, match=message):
        Camera(3)


def test_a_camera_that_does_not_exist():
    with pytest.raises(InputError, match="camera 9999 cannot be opened"):
        Camera(9999)


def test_ctrl_c_while_the_camera_starts(camera, monkeypatch, new_threads):
    def interrupted(opened):
        raise KeyboardInterrupt
        yield

    camera(count=10**9)
    monkeypatch.setattr(Camera, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Camera(0)
    for thread in new_threads():
        thread.join(30)
    assert new_threads() == []


def test_ctrl_c_ends_a_recording(camera, tiny_bundle, tmp_path, monkeypatch, capsys):
    camera(count=1000)
    from engine.cli import sequence

    rounds = itertools.count()

    class Bar:
        def __enter__(self):
            return self.advance

        def __exit__(self, *error):
            pass

        def advance(self, text):
            if next(rounds) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(sequence, "progress_bar", lambda *_, **__: Bar())
    output = tmp_path / "camera.mp4"
    options = ["--bundle", str(tiny_bundle), "--backend", "onnxruntime", "--threads", "1"]
    monkeypatch.chdir(tmp_path)
    assert main(["video", "0", "-o", str(output), *options]) == 0
    assert capsys.readouterr().out.startswith("4 flows of 48x64, ")
    with VideoReader(output) as video:
        assert len(list(video)) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["camera.mp4"]


def test_a_camera_that_stops_after_a_frame(camera, tiny_bundle, tmp_path, monkeypatch, capsys):
    camera(count=1)
    monkeypatch.chdir(tmp_path)
    options = ["--bundle", str(tiny_bundle), "--backend", "onnxruntime", "--threads", "1"]
    assert main(["video", "0", "-o", "camera.mp4", *options]) == 1
    assert "camera 0 sent one frame; expected at least two." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_camera_has_no_start(capsys):
    assert main(["video", "0", "--show", "--start", "3"]) == 1
    assert "--start is for files; a camera starts now" in capsys.readouterr().err
