"""Picture files."""

import os
import sys

import cv2
import numpy as np
import pytest

from engine.errors import BackendNotInstalledError, InputError
from engine.flow.formats import write_flow
from engine.images import read_image, read_images, read_scene, write_image


def test_pictures_keep_their_colors(tmp_path, rng):
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    write_image(tmp_path / "red.ppm", np.full((1, 1, 3), (255, 0, 0), np.uint8))
    assert (tmp_path / "red.ppm").read_bytes().endswith(b"\xff\x00\x00")


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_sixteen_bits_become_eight(tmp_path, shape):
    levels = np.zeros(shape, np.uint16)
    levels[0], levels[1, 0] = 65535, 257
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    image = read_image(tmp_path / "a.png")
    assert image[..., 0].tolist() == [[255, 255, 255], [1, 0, 0]]


def test_unknown_white_level_is_refused(tmp_path, rng):
    """12-bit levels in a 16-bit file would become 0 to 15, floats up to 1 would become 0."""
    thermal = rng.integers(51241, 52181, (64, 64)).astype(np.uint16)
    thermal[:2, 0] = 0, 65535  # dead pixels
    for name, pixels, message in (
        ("a.png", np.uint16([[0, 4095]]), r"uint16 values from 0 to 4095; .* 0:4095 for 12 bits"),
        ("b.png", np.uint16([[0, 9000]]), r"uint16 values from 0 to 9000; .* 0:16383 for 14 bits"),
        (
            "c.png",
            thermal,
            r"from 0 to 65535, most .* 5 of 256 levels; .* 51\d+:52\d+ for this scene",
        ),
        ("d.pfm", np.float32([[0.25, 1]]), r"d\.pfm has float32 values from 0\.25 to 1; .* 8 bits"),
    ):
        cv2.imwrite(str(tmp_path / name), pixels)
        with pytest.raises(InputError, match=message):
            read_image(tmp_path / name)


def test_few_levels_of_few_values_are_no_loss(tmp_path):
    """A small object on black, and 8 bits times 257: nothing is there that 8 bits cannot hold."""
    picture = np.zeros((100, 100), np.uint16)
    picture[:5, :5] = np.linspace(0, 65535, 25).reshape(5, 5)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert read_image(tmp_path / "a.png")[4, 4].tolist() == [255] * 3
    cv2.imwrite(str(tmp_path / "b.png"), np.full((9, 9), 257 * 100, np.uint16))
    assert (read_image(tmp_path / "b.png") == 100).all()


def test_levels_become_0_and_255(tmp_path):
    """A scene of a thermal camera: 51241 + 94 / 940 of the range is 25.5, to the even 26."""
    cv2.imwrite(str(tmp_path / "a.png"), np.uint16([[51241, 51335, 52181, 60000, 0]]))
    image = read_image(tmp_path / "a.png", levels=(51241, 52181))
    assert image[0, :, 1].tolist() == [0, 26, 255, 255, 0]
    for levels in ((9, 9), (9, float("nan")), "percent", 9):
        with pytest.raises(InputError, match=r"levels is .*; expected the values of bla"):
            read_image(tmp_path / "a.png", levels=levels)


def test_percentiles_are_those_of_all_pictures(tmp_path):
    """Of 0 to 100 and 200 to 300 they are 1 and 99, 201 and 299; of both together 1 and 299."""
    for name, start in (("a.png", 1000), ("b.png", 1200)):
        cv2.imwrite(str(tmp_path / name), np.arange(start, start + 101, dtype=np.uint16)[None])
    paths = tmp_path / "a.png", tmp_path / "b.png"
    assert read_scene(paths)[1] == (1001, 1299)
    one, two = read_images(paths, levels="percentile")
    np.testing.assert_array_equal(one[0, [0, 1, 99], 0], [0, 0, round(98 / 298 * 255)])
    np.testing.assert_array_equal(two[0, [0, 99, 100], 0], [round(199 / 298 * 255), 255, 255])
    assert read_scene(paths[:1])[1] == (1001, 1099)
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((2, 2), 7, np.uint16))
    assert read_scene([tmp_path / "flat.png"])[1] == (7, 8)


def test_unreadable_pictures(tmp_path):
    with pytest.raises(InputError, match=r"missing\.png does not exist; expected a picture"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="is a folder; expected a picture"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(
        InputError, match=r"text\.png starts with b'not a pi'; expected a picture: PNG"
    ):
        read_image(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty\.png is empty; expected a picture"):
        read_image(tmp_path / "empty.png")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_not_utf8(tmp_path, rng):
    path = tmp_path / os.fsdecode(b"bad\xff.png")
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(path, image)
    np.testing.assert_array_equal(read_image(path), image)


def test_a_failed_write_names_the_target(tmp_path):
    (tmp_path / "file").touch()
    for name, kind in (("missing/a.png", FileNotFoundError), ("file/a.png", NotADirectoryError)):
        with pytest.raises(kind) as caught:
            write_image(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
        assert caught.value.filename == str(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_image(tmp_path / "folder.png", np.zeros((2, 2, 3), np.uint8))
    assert str(caught.value).endswith(f": {str(tmp_path / 'folder.png')!r}")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png"}


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 5, 3), float), ((4, 5), np.uint8), ((4, 5, 4), np.uint8)]
)
def test_other_arrays_are_not_written(tmp_path, shape, dtype):
    with pytest.raises(InputError, match=r"the image is \(4, 5.*; expected \(H, W, 3\) uint8"):
        write_image(tmp_path / "a.png", np.zeros(shape, dtype))
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large_for_its_format(tmp_path):
    # JPEG's sides have 16 bits.
    with pytest.raises(
        InputError, match=r"2x70000 cannot be written as '\.jpg'; expected a smaller"
    ):
        write_image(tmp_path / "a.jpg", np.zeros((2, 70_000, 3), np.uint8))


def test_unknown_picture_format(tmp_path):
    with pytest.raises(
        InputError, match=r"'\.xyz' is not a format for colour pictures; expected e\.g\. \.png"
    ):
        write_image(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="'' is not a format"):
        write_image(tmp_path / "a", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match=r"'\.pgm' is not a format"):  # of grey ones
        write_image(tmp_path / "a.pgm", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_without_opencv(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((2, 2, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendNotInstalledError, match="pip install opencv-python-headless"):
        read_image(tmp_path / "a.png")


def test_floats_that_are_no_numbers_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tiff"), np.float32([[0, np.nan], [1, 2]]))
    with pytest.raises(InputError, match="holds values that are NaN or infinite; expected numb"):
        read_image(tmp_path / "a.tiff", levels=(0, 1))


def test_grey_floats(tmp_path):
    """Temperatures of a thermal camera: 10 to 30 degrees are 0 to 255, 18 is 102."""
    cv2.imwrite(str(tmp_path / "a.tiff"), np.float32([[10, 18, 30]]))
    image = read_image(tmp_path / "a.tiff", levels=(10, 30))
    assert image.tolist() == [[[0] * 3, [102] * 3, [255] * 3]]


def test_a_kitti_flow_is_no_picture(tmp_path, rng):
    write_flow(tmp_path / "flow.png", rng.normal(0, 2, (50, 60, 2)))
    with pytest.raises(InputError, match=r"is it a KITTI flow\?"):
        read_image(tmp_path / "flow.png")


def test_names_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in (
        (tmp_path / "pipe.png", r"pipe\.png is a pipe; expected a picture"),
        ("/dev/zero", "/dev/zero is a device; expected a picture"),
        ("x" * 300, r"x{40}\.\.\. is a name of 300 bytes, too long"),
        ("a\0b", r"'a\\x00b' is no name of a file"),
        (None, "NoneType is no name of a file"),
    ):
        with pytest.raises(InputError, match=message):
            read_image(name)
    np.testing.assert_array_equal(
        read_image(os.fsencode(_written(tmp_path / "b.png"))), np.zeros((2, 2, 3))
    )


def _written(path):
    write_image(path, np.zeros((2, 2, 3), np.uint8))
    return path
