"""What is in the files of a pair, and errors that name the file."""

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.chairs import PICTURE_SUFFIXES, find_pairs
from engine.data.files import read_pair
from engine.data.pair import PairsError
from engine.flow.formats import FLOW_SUFFIXES, write_flow
from engine.images import write_image
from tests.support.pictures import flow, image, write_pair


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    for name in ("00001", "00002"):
        write_pair(tmp_path, name)
    return tmp_path


def test_a_pair_is_read_as_it_was_written(chairs: Path) -> None:
    (chairs / "00002_flow.flo").unlink()
    files = find_pairs(chairs)
    assert [pair.name for pair in files] == ["00001", "00002"]
    unknown = np.full((64, 64, 2), np.nan)
    for files_of_pair, expected in zip(files, (flow(64, 64), unknown), strict=True):
        pair = read_pair(files_of_pair)
        assert (pair.name, pair.size) == (files_of_pair.name, (64, 64))
        np.testing.assert_array_equal(pair.image1, image(64, 64, 1))
        np.testing.assert_array_equal(pair.image2, image(64, 64, 2))
        assert pair.flow.dtype == np.float32
        np.testing.assert_array_equal(pair.flow, expected)
        np.testing.assert_array_equal(pair.valid, np.isfinite(expected).all(axis=-1))


@pytest.mark.parametrize("suffix", FLOW_SUFFIXES)
def test_flow_of_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "a_flow.flo").unlink()
    write_flow(tmp_path / f"a_flow{suffix}", flow(64, 64))
    (files,) = find_pairs(tmp_path)
    np.testing.assert_allclose(read_pair(files).flow, flow(64, 64), atol=1 / 128)


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_opencv_reads_every_suffix(tmp_path: Path, suffix: str) -> None:
    for path in (tmp_path / f"a{suffix}", tmp_path / f"b{suffix.upper()}"):
        if suffix == ".pgm":  # contains grey alone
            path.write_bytes(b"P5 64 64 255\n" + bytes([100]) * 4096)
        else:
            write_image(path, np.full((64, 64, 3), 100, np.uint8))
    (files,) = find_pairs(tmp_path)
    pair = read_pair(files)
    for picture in (pair.image1, pair.image2):
        np.testing.assert_allclose(picture, np.full((64, 64, 3), 100), atol=2)


def spoil(chairs: Path, name: str, content: NDArray[np.generic] | bytes | None) -> None:
    path = chairs / name
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".flo":
        write_flow(path, content)
    else:
        write_image(path, content.astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "00002_img1.jpg",
            image(64, 64, 0),
            "{folder} contains both 00002_img1.jpg and 00002_img1.png; expected one picture of "
            "each name: remove one of them",
        ),
        (
            "00002_img2.png",
            None,
            "{folder}/00002_img1.png has no 00002_img2.* beside it; expected both images of each "
            "pair: restore the one or remove the other",
        ),
        (
            "00002_img2.png",
            b"\x89PNG\r\n\x1a\n",
            "{folder}/00002_img2.png is a PNG file that ends inside its header: truncated. Fetch "
            "or write it again.",
        ),
        (
            "00002_img2.png",
            image(64, 72, 0),
            "{folder}/00002_img1.png is 64x64 and 00002_img2.png 64x72; expected two images of "
            "one size: crop or resize one of them",
        ),
        (
            "00002_flow.flo",
            flow(64, 72),
            "{folder}/00002_flow.flo is 64x72 and its images are 64x64; expected one vector for "
            "each pixel: write it at their size or remove it",
        ),
        (
            "00002_flow.flo",
            b"PIEH" + struct.pack("<ii", 64, 64) + bytes(32767),
            "{folder}/00002_flow.flo: contains 32767 bytes of data, expected 32768 from its "
            "header: truncated. Fetch or write it again.",
        ),
    ],
)
def test_a_spoilt_folder(
    chairs: Path, name: str, content: NDArray[np.generic] | bytes | None, message: str
) -> None:
    spoil(chairs, name, content)
    assert refusal(chairs) == message.format(folder=chairs)


def test_no_folder(tmp_path: Path) -> None:
    expected = "expected a folder of pictures, or a word such as 'synthetic': check the path"
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'} does not exist; {expected}"
    (tmp_path / "file.png").touch()
    assert refusal(tmp_path / "file.png") == f"{tmp_path / 'file.png'} is a file; {expected}"


def test_no_picture_and_one(tmp_path: Path) -> None:
    (tmp_path / "below.png").mkdir()
    for name in ("notes.txt", "._00001.png", "00001_flow.flo", "below.png/00001.png"):
        (tmp_path / name).touch()
    assert refusal(tmp_path) == (
        f"{tmp_path} contains no picture; expected at least two, with suffixes of .bmp .jp2 .jpeg "
        ".jpg .pgm .png .pnm .ppm .tif .tiff .webp: give the folder that directly contains them"
    )
    write_image(tmp_path / "00001.png", image(64, 64, 0))
    assert refusal(tmp_path) == (
        f"{tmp_path / '00001.png'} is the only picture in its folder; expected at least two "
        "frames, or <id>_img1.* with <id>_img2.*: add the next frame"
    )


def refusal(folder: Path) -> str:
    with pytest.raises(PairsError) as caught:
        list(map(read_pair, find_pairs(folder)))
    return str(caught.value)


def test_frames_of_a_video_with_flow(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        write_image(tmp_path / f"frame{number}.png", np.full((64, 64, 3), number, np.uint8))
    write_flow(tmp_path / "frame9_flow.flo", flow(64, 64))
    files = find_pairs(tmp_path)
    assert [pair.name for pair in files] == ["frame2", "frame9"]
    first, second = map(read_pair, files)
    shown = (first.image1, first.image2, second.image1, second.image2)
    assert [int(picture.max()) for picture in shown] == [2, 9, 9, 10]
    assert not first.valid.any()
    np.testing.assert_array_equal(second.flow, flow(64, 64))
