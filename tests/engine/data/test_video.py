"""A video file as pairs: every frame with the next, whatever the order of reading."""

from pathlib import Path

import numpy as np
import pytest

from engine.data.files import read_pair, require_flows
from engine.data.pair import PairsError
from engine.data.sources import find_source, spread
from engine.video.reader import VideoReader
from tests.support.videos import levels, write_clip, write_sound


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mp4", levels(6))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 2, 0, 4, 1]])
def test_pairs_are_frames_that_follow_each_other(clip: Path, order: list[int]) -> None:
    frames = [frame.image for frame in VideoReader(clip)]
    pairs = find_source(f"video:{clip}")
    assert [pair.name for pair in pairs] == [f"{i:06}" for i in range(5)]
    assert {pair.sequence for pair in pairs} == {"clip"}
    for index in order:
        pair = read_pair(pairs[index])
        np.testing.assert_array_equal(pair.image1, frames[index])
        np.testing.assert_array_equal(pair.image2, frames[index + 1])
        assert not pair.valid.any()


def test_a_selection_is_read_without_going_back(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = find_source(f"video:{clip}")
    opened = []
    monkeypatch.setattr(
        "engine.data.video.VideoReader", lambda path: opened.append(path) or VideoReader(path)
    )
    for files in spread(pairs, 3):
        read_pair(files)
    assert opened == [clip]


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(
        PairsError, match=f"is a folder; expected a video file: .* frames:{tmp_path}"
    ):
        find_source(f"video:{tmp_path}")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(PairsError, match=r"a\.mp4"):
        find_source(f"video:{tmp_path / 'a.mp4'}")
    with pytest.raises(PairsError, match=r"no\.mp4"):
        find_source(f"video:{tmp_path / 'no.mp4'}")
    with pytest.raises(PairsError, match=r"sound\.mp4"):
        find_source(f"video:{write_sound(tmp_path / 'sound.mp4')}")


def test_a_video_that_breaks_off(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mkv"
    whole = write_clip(tmp_path / "whole.mkv", levels(40)).read_bytes()
    broken.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(PairsError, match=r"broken\.mkv.*Expected a whole video: convert it"):
        find_source(f"video:{broken}")


def test_a_video_has_no_flow(clip: Path) -> None:
    with pytest.raises(PairsError, match=r"clip\.mp4, frame 000000 has no true flow; expected"):
        require_flows(find_source(f"video:{clip}"))
