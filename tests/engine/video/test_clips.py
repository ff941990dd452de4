"""Clips by their names."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.images import write_image
from engine.video.clips import clips_in, open_clip


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Empty files with the names of videos and pictures."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("clips/b10.mp4", "clips/b2.MKV", "clips/notes.txt", "clips/more/c.webm"),
        *("clips/frames/f1.png", "clips/frames/f2.png", "clips/nothing/readme.md"),
        "clips/s.zarr/zarr.json",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(
    ("names", "clips"),
    [
        (
            ["clips"],
            [
                "clips/b2.MKV",
                "clips/b10.mp4",
                "clips/frames",
                "clips/more/c.webm",
                "clips/nothing",
                "clips/s.zarr",
            ],
        ),
        (["clips/*.mp4"], ["clips/b10.mp4"]),
        (["clips/**/*.webm", "clips/b2.MKV"], ["clips/more/c.webm", "clips/b2.MKV"]),
        (["clips/notes.txt", "missing.mp4"], ["clips/notes.txt", "missing.mp4"]),
        (["*.avi"], ["*.avi"]),
    ],
)
def test_names(tree, names, clips):
    assert [path.as_posix() for path in clips_in(names)] == clips


def test_a_folder_of_pictures_with_a_stride(tmp_path):
    for index in range(5):
        write_image(tmp_path / f"{index}.png", np.full((16, 20, 3), 10 * index, np.uint8))
    with open_clip(tmp_path, stride=2, threads=1) as source:
        assert (source.height, source.width, source.expected_frames) == (16, 20, 3)
        assert [(float(frame.time), frame.image[0, 0, 0]) for frame in source] == [
            (0, 0),
            (0.08, 20),
            (0.16, 40),
        ]
    with (
        pytest.raises(InputError, match="has 5 pictures and the stride is 5; expected at least"),
        open_clip(tmp_path, stride=5, threads=1),
    ):
        pass
