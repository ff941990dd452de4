"""The programs of docs/recipes.md, with a camera, a window and ROS 2 that are doubles."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import engine
from tests.support import ros2_double
from tests.support.pages import PAGES, blocks
from tests.support.videos import write_clip


def program(name: str) -> object:
    (text,) = blocks(f'python title="{name}"', PAGES["docs/recipes.md"])
    return compile(text, name, "exec")


@pytest.fixture
def images(rng):
    return list(rng.integers(0, 256, (4, 64, 96, 3), np.uint8))


@pytest.fixture
def clip(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path / "dance.mp4", images)


def test_webcam(clip, monkeypatch):
    shown = []
    capture = cv2.VideoCapture
    cameras = {0: str(clip)}
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: capture(cameras[index]))
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image), raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda _: 27 if len(shown) == 2 else -1, raising=False)
    exec(program("webcam.py"), {})
    assert [image.shape for image in shown] == [(64, 96, 3)] * 2


def test_opencv_loop(clip, capsys):
    exec(program("opencv_loop.py"), {})
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["px"] * 3


def test_ros2_node(images, monkeypatch):
    """Rows of messages may be longer than the pixels need."""

    def message(stamp, image):
        rows = np.pad(image.reshape(64, 288), ((0, 0), (0, 12)))
        return SimpleNamespace(header=stamp, height=64, width=96, step=300, encoding="rgb8",
                               data=rows.tobytes())  # fmt: skip

    published = ros2_double.install(monkeypatch, [*map(message, "abc", images)])
    exec(program("flow_node.py"), {})
    assert [one.header for one in published] == ["a", "b"]
    first = published[0]
    assert (first.encoding, first.step, first.height, first.width) == ("32FC2", 768, 64, 96)
    flow = np.frombuffer(first.data, np.float32).reshape(64, 96, 2)
    np.testing.assert_allclose(flow, engine.infer(images[0], images[1]), atol=1e-4)
