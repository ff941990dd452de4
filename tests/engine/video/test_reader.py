"""Frames, times and orientation of videos; videos that cannot be read."""

import os
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from engine.errors import BackendNotInstalledError, InputError
from engine.images import write_image
from engine.video.reader import VideoReader
from tests.support.videos import levels, write_clip, write_sound


def greys(frames):
    """The level of each frame away from the red bar and its blurred edge."""
    return [int(np.median(frame.image[:, 16:])) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("h264.mp4", "libx264", "yuv420p"),
        ("ten_bits.mkv", "libx264", "yuv420p10le"),
        ("full_colour.mkv", "ffv1", "bgr0"),
        ("old.avi", "mpeg4", "yuv420p"),
        ("broadcast.ts", "libx264", "yuv422p"),
        ("web.webm", "libvpx-vp9", "yuv420p"),
        ("picture.gif", "gif", "gray"),
    ],
)
def test_frames_of_many_formats(tmp_path, name, codec, pixels):
    images = levels(5)
    path = write_clip(tmp_path / name, images, codec=codec, pixels=pixels)
    with VideoReader(path) as video:
        frames = list(video)
    assert (video.height, video.width, video.rate) == (48, 64, 25)
    assert [frame.time for frame in frames] == [Fraction(index, 25) for index in range(5)]
    assert [frame.name for frame in frames] == [f"{index:06d}" for index in range(5)]
    for frame, image in zip(frames, images, strict=True):
        assert frame.image.dtype == np.uint8
        np.testing.assert_allclose(np.median(frame.image[:, 16:], (0, 1)), image[0, 16], atol=4)
        if pixels != "gray":
            np.testing.assert_allclose(np.median(frame.image[:, :6], (0, 1)), image[0, 0], atol=9)
    assert video.faults() == []


def test_odd_sizes(tmp_path):
    path = write_clip(tmp_path / "odd.mkv", levels(2, 47, 63), codec="ffv1", pixels="bgr0")
    with VideoReader(path) as video:
        assert [frame.image.shape for frame in video] == [(47, 63, 3)] * 2


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_times_of_a_variable_rate(tmp_path, suffix):
    times = [0, 40, 100, 220, 230]
    path = write_clip(tmp_path / f"clip.{suffix}", levels(5), times=times)
    with VideoReader(path) as video:
        assert [frame.time for frame in video] == [Fraction(time, 1000) for time in times]


def test_streams_without_times_have_a_constant_rate(tmp_path):
    path = write_clip(tmp_path / "raw.h264", levels(4))
    with VideoReader(path) as video:
        assert [frame.time for frame in video] == [Fraction(index, 25) for index in range(4)]
        assert video.expected_frames is None


def test_rotation_is_applied(tmp_path):
    """By a matrix of ISO/IEC 14496-12: (x, y) is shown at (height - y, x), turned clockwise."""
    images = levels(2)
    one = 1 << 16
    matrix = [0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30]
    path = write_clip(tmp_path / "portrait.mp4", images, matrix=matrix)
    with VideoReader(path) as video:
        image = next(video).image
    assert (video.height, video.width) == image.shape[:2] == (64, 48)
    assert image.flags.c_contiguous
    # The red bar is on the left of the stored frame, and on top of the one shown.
    np.testing.assert_allclose(np.median(image[:6], (0, 1)), (200, 30, 30), atol=9)
    assert np.median(image[16:]) == pytest.approx(40, abs=4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
def test_part_of_a_video(tmp_path, suffix):
    path = write_clip(tmp_path / f"clip.{suffix}", levels(100))
    with VideoReader(path) as whole:
        expected = list(whole)
    with VideoReader(path, start=1.5, end=2.1) as video:
        part = list(video)
    assert [frame.time for frame in part] == [Fraction(index, 25) for index in range(38, 53)]
    assert greys(part) == greys(expected[38:53])
    assert video.expected_frames in (15, None)
    assert part[0].name == "000000"


def test_fewer_frames(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", levels(25))
    with VideoReader(path, start=0.2, stride=2, fps=12.5) as video:
        assert (video.rate, video.begin, video.expected_frames) == (6.25, Fraction(1, 5), 5)
        assert [frame.time for frame in video] == [Fraction(index, 25) for index in range(5, 25, 4)]


def damage(path, part=0.5):
    """Overwrite bytes in the second half of a file."""
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(int(len(data) * part), len(data), 200):
        data[position] = rng.integers(256)
    path.write_bytes(data)


def test_damaged_frames_are_counted_and_left_out(tmp_path, rng):
    images = list(rng.integers(0, 256, (30, 48, 64, 3), np.uint8))
    path = write_clip(tmp_path / "clip.mp4", images, faststart=True)
    damage(path)
    with VideoReader(path) as video:
        times = [frame.time for frame in video]
    assert 10 < len(times) < 30
    assert times[:10] == [Fraction(index, 25) for index in range(10)]
    assert times == sorted(set(times))
    fault = video.faults()[0]
    assert fault.startswith(f"{path}: ")
    assert fault.endswith(" damaged frame(s) were left out.")
    assert int(fault.removeprefix(f"{path}: ").split()[0]) >= 1


@pytest.mark.parametrize("count", [100, 20])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path, suffix, count, rng):
    images = list(rng.integers(0, 256, (count, 48, 64, 3), np.uint8))
    path = write_clip(tmp_path / f"clip.{suffix}", images, faststart=suffix == "mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoReader(path) as video:
        assert 0.3 * count < len(list(video)) < 0.6 * count
    fault = video.faults()[-1]
    assert fault.startswith(f"{path} breaks off after ")
    assert fault.endswith(f" of {count / 25:.1f} s: the file is incomplete.")


def test_a_last_frame_that_is_shown_long_is_no_truncation(tmp_path):
    first, *others = (Image.fromarray(image) for image in levels(4))
    shown = [50, 50, 50, 2000]
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=shown)
    with VideoReader(tmp_path / "a.gif") as video:
        assert len(list(video)) == 4
    assert video.faults() == []


def text(path):
    path.write_text("no video\n" * 100)


def empty(path):
    path.touch()


def half(path):
    write_clip(path, levels(5))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def picture(path):
    write_image(path.with_suffix(".png"), levels(1)[0])
    path.with_suffix(".png").rename(path)


def unknown_codec(path):
    write_clip(path, levels(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz9"))


def no_frame(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()


def one_frame(path):
    write_clip(path, levels(1))


INVALID = "cannot be opened as a video: Invalid data found when processing input. Expected a file"


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda path: None, "a.mp4", "does not exist; expected a video file. Check the path."),
        (lambda path: path.mkdir(), "a.mp4", "is a folder; expected a video file. Use `flow f"),
        (text, "a.mp4", INVALID),
        (text, "notes.txt", "contains text; expected a video stream. Give another file."),
        (empty, "a.mkv", "is empty; expected a video file. Copy it or record it again."),
        (half, "a.mp4", "It was cut off and has lost its index; expected a whole file. Copy"),
        (picture, "a.mp4", "is a picture (png), whatever its suffix; expected a video."),
        (write_sound, "a.mp4", "contains audio only; expected a video stream."),
        (unknown_codec, "a.mp4", ": FFmpeg has no decoder for its video stream; expected a codec"),
        (no_frame, "a.avi", "has no frame; expected at least two. Give a longer video or range."),
        (no_frame, "a.mp4", "contains no stream; expected a video stream. Give another file."),
        (one_frame, "a.mp4", "has only one frame; expected at least two. Give a longer video"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_files_that_cannot_be_read(tmp_path, make, name, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError) as caught:
        VideoReader(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", levels(2))

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: .*clip\.mp4"):
        VideoReader(path, threads=1)


def test_frames_that_are_left_out_are_named(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", levels(5))
    with pytest.raises(InputError, match=r"has only one frame with a stride of 5; expected at"):
        VideoReader(path, stride=5)
    with pytest.raises(InputError, match=r"has only one frame at 2.5 frames per second; expected"):
        VideoReader(path, fps=2.5)


def test_stdin_is_no_video():
    with pytest.raises(InputError, match="cannot be read from stdin; expected a video file"):
        VideoReader("-")


def test_every_frame_damaged(tmp_path):
    path = write_clip(tmp_path / "clip.webm", levels(20), codec="libvpx")
    path.write_bytes(path.read_bytes().replace(b"\x9d\x01\x2a", b"\x00\x00\x00"))  # key frames
    with pytest.raises(InputError, match=r"has no frame that can be decoded \(20 damaged\)"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (2, 2, "start is 2 s and end is 2 s; expected a start of at least 0 s and an end after it"),
        (-1, None, "start is -1 s and end is None s"),
        (float("nan"), None, "start is nan s"),
        (9, None, "has no frame from 9 s to the end (it lasts 0.2 s); expected at least two"),
        (0.1, 0.13, "has only one frame from 0.1 s to 0.13 s (it lasts 0.2 s)"),
    ],
)
def test_ranges_without_two_frames(tmp_path, start, end, message):
    path = write_clip(tmp_path / "clip.mp4", levels(5))
    with pytest.raises(InputError) as caught:
        VideoReader(path, start=start, end=end)
    assert message in str(caught.value)


def test_a_change_of_size(tmp_path):
    parts = [write_clip(tmp_path / f"{h}.ts", levels(3, h, 64), pixels="yuv420p") for h in (48, 64)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with (
        VideoReader(path) as video,
        pytest.raises(InputError, match=r"is 64x64, those before are 48x64; expected one size"),
    ):
        list(video)


def test_names_that_are_protocols_or_not_utf8(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip.mp4", levels(2)).read_bytes()
    monkeypatch.chdir(tmp_path)
    names = ["concat:clip.mp4", "-i", *[os.fsdecode(b"\xff.mp4")] * (sys.platform == "linux")]
    for name in names:
        with open(name, "wb") as file:
            file.write(clip)
        with VideoReader(name) as video:
            assert len(list(video)) == 2


def test_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendNotInstalledError, match=r"pip install 'flownet-engine\[video\]'"):
        VideoReader(tmp_path / "clip.mp4")
