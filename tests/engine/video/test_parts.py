"""Videos in parts: what counts as finished, and how they are joined."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.video.gif import write_gif
from engine.video.parts import VideoParts, join
from engine.video.reader import VideoReader
from engine.video.writer import Encoding

ENCODING = Encoding((48, 64), Fraction(30000, 1001), Fraction(1001, 30000), 1)
LEVELS = [20, 60, 100, 140, 180, 220, 240]


def write(parts, first, count, *, interrupted=False):
    with parts.write(first, ENCODING) as video:
        for index in range(first, first + count):
            image = np.full((48, 64, 3), LEVELS[index], np.uint8)
            video.write(image, index * ENCODING.time_base)
        if interrupted:
            raise KeyboardInterrupt


def assert_whole(path, *, exact):
    with VideoReader(path) as video:
        frames = list(video)
    assert [round(frame.image.mean()) for frame in frames] == pytest.approx(LEVELS, abs=3)
    expected = [index * ENCODING.time_base for index in range(len(LEVELS))]
    found = [frame.time for frame in frames]
    if exact:
        assert found == expected
    else:  # GIF has hundredths of a second
        np.testing.assert_allclose(np.array(found, float), np.array(expected, float), atol=0.011)


@pytest.mark.parametrize(("suffix", "finish"), [("mp4", join), ("gif", write_gif)])
def test_parts_of_three_runs(tmp_path, suffix, finish):
    path = tmp_path / f"clip.{suffix}"
    assert VideoParts(path).count() == 0
    write(VideoParts(path), 0, 4)
    assert VideoParts(path).count() == 3  # the last one may be cut off
    write(VideoParts(path), 2, 2)  # another output had only two
    write(VideoParts(path), 3, 4)
    assert not path.exists()
    VideoParts(path).finish(finish)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert_whole(path, exact=suffix == "mp4")


def test_one_image_is_a_video_but_counts_for_nothing_if_it_is_interrupted(tmp_path):
    path = tmp_path / "clip.mp4"
    parts = VideoParts(path)
    with pytest.raises(KeyboardInterrupt):
        write(parts, 0, 1, interrupted=True)
    assert list(tmp_path.iterdir()) == []
    write(parts, 0, 1)
    parts.finish(join)
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_while_a_part_is_written(tmp_path):
    """The file ends anywhere; what was before is of use."""
    path = tmp_path / "clip.mkv"
    write(VideoParts(path), 0, 6)
    (part,) = tmp_path.iterdir()
    data = part.read_bytes()
    counts = []
    for size in range(0, len(data), 50):
        part.write_bytes(data[:size])
        counts.append(VideoParts(path).count())
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] <= 5
    part.write_bytes(data[: len(data) * 2 // 3])
    write(VideoParts(path), VideoParts(path).count(), 7 - VideoParts(path).count())
    VideoParts(path).finish(join)
    assert_whole(path, exact=False)  # Matroska has thousandths


@pytest.mark.parametrize("left", [0, 1, 2])
def test_an_interruption_while_parts_are_deleted(tmp_path, monkeypatch, left):
    """What stays is a beginning: the next run completes the whole video, not its end alone."""
    path, deleted, unlink = tmp_path / "clip.mkv", [], Path.unlink
    for first, count in ((0, 4), (3, 3), (5, 2)):
        write(VideoParts(path), first, count)

    def interrupted(file, **named):
        if file.suffix == ".part":
            if len(deleted) == left:
                raise KeyboardInterrupt
            deleted.append(file)
        unlink(file, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            VideoParts(path).finish(join)
    first = VideoParts(path).count()
    write(VideoParts(path), first, len(LEVELS) - first)
    VideoParts(path).finish(join)
    assert_whole(path, exact=False)  # Matroska has thousandths


def test_a_part_without_images_is_not_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoParts(tmp_path / "a.mp4").write(0, ENCODING):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
