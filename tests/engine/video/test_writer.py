"""Videos that the writer makes, as PyAV reads them; failures leave nothing."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from engine.errors import BackendNotInstalledError, InputError
from engine.video.writer import Encoding, write_video

TIMES = [Fraction(time, 1000) for time in (0, 40, 100, 220, 230)]


def write(path, images, times=TIMES, **changed):
    settings = {"rate": Fraction(25), "time_base": Fraction(1, 1000), "threads": 1} | changed
    with write_video(path, Encoding(size=images[0].shape[:2], **settings)) as video:
        for image, time in zip(images, times, strict=True):
            video.write(image, time)
    return path


def plain(color, height=48, width=64):
    return np.full((height, width, 3), color, np.uint8)


@pytest.mark.parametrize(("suffix", "smooth"), [("mp4", False), ("mkv", True), ("mov", True)])
def test_times_and_colours(tmp_path, suffix, smooth):
    colors = [(200, 30, 90), (0, 0, 255), (255, 255, 255), (0, 0, 0), (10, 200, 60)]
    path = write(tmp_path / f"clip.{suffix}", [plain(color) for color in colors], smooth=smooth)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].codec_context.name == "h264"
    assert [frame.pts * frame.time_base for frame in frames] == TIMES
    for frame, color in zip(frames, colors, strict=True):
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited range
        # ITU-R BT.709, items 3.2 to 3.4 and 5.3
        red, green, blue = np.array(color) / 255
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        expected = (
            16 + 219 * luma,
            128 + 224 * (blue - luma) / 1.8556,
            128 + 224 * (red - luma) / 1.5748,
        )
        planes = [np.frombuffer(plane, np.uint8) for plane in frame.planes]
        widths = [plane.line_size for plane in frame.planes]
        found = [
            plane.reshape(-1, width)[2:-2, 2:20].mean()
            for plane, width in zip(planes, widths, strict=True)
        ]
        np.testing.assert_allclose(found, expected, atol=2)


@pytest.mark.parametrize("smooth", [True, False])
def test_smooth_images_do_not_refer_to_others(tmp_path, smooth):
    path = write(tmp_path / "clip.mp4", [plain(color) for color in range(5)], smooth=smooth)
    with av.open(str(path)) as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert keys == ([True] * 5 if smooth else [True] + [False] * 4)


def test_odd_sizes_are_padded_by_copies(tmp_path):
    image = plain((0, 0, 0), 47, 63)
    image[-1:], image[:, -1:] = 255, 255
    path = write(tmp_path / "odd.mp4", [image, image], TIMES[:2])
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="gray")
    assert decoded.shape == (48, 64)
    assert decoded[-1, 3:40].mean() > 200
    assert decoded[3:40, -1].mean() > 200


@pytest.mark.parametrize("unit", [Fraction(1, 10**9), Fraction(1, 25), Fraction(1001, 30000)])
def test_units_of_time(tmp_path, unit):
    times = [index * max(unit, Fraction(1, 30)) for index in range(4)]
    path = write(tmp_path / "clip.mp4", [plain(9)] * 4, times, time_base=unit)
    with av.open(str(path)) as container:
        found = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    np.testing.assert_allclose(
        np.array(found, float), np.array(times, float), atol=max(float(unit), 1e-6)
    )


def test_times_that_do_not_increase_are_moved(tmp_path):
    path = write(tmp_path / "clip.mp4", [plain(9)] * 3, [Fraction(0)] * 3)
    with av.open(str(path)) as container:
        found = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert found == [0, Fraction(1, 1000), Fraction(2, 1000)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_keeps_what_was_there(tmp_path, error):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"before")

    def times():
        yield Fraction(0)
        raise error

    with pytest.raises(error):
        write(path, [plain(1)] * 2, times())
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_full_disk(tmp_path):
    """A limit of the size of files fails as a full disk does."""
    resource = pytest.importorskip("resource", reason="limits of resources are of Unix")
    noise = list(np.random.default_rng(0).integers(0, 256, (5, 96, 128, 3), np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(OSError, match=r"clip\.mkv") as caught:
            write(tmp_path / "clip.mkv", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.strerror == "File too large"
    assert os.listdir(tmp_path) == []


def test_a_missing_folder(tmp_path):
    with pytest.raises(OSError, match="No such file or directory"):
        write(tmp_path / "no" / "clip.mp4", [plain(1)] * 5)


def test_unknown_suffixes(tmp_path):
    with pytest.raises(InputError, match=r"as '\.mp5'; expected one of .*Did you mean '\.mp4'"):
        write(tmp_path / "clip.mp5", [plain(1)])


def test_without_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(BackendNotInstalledError, match="has no encoder libx264; expected that of"):
        write(tmp_path / "clip.mp4", [plain(1)])
