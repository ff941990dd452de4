"""Folders in Flying Chairs layout: the split, and errors that name the file."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.data.pairs import read_flo
from training.data.sets import FlyingChairs
from training.data.streams import DatasetStream


def write_pair(folder: Path, number: int, *, height: int = 6, width: int = 8) -> None:
    rng = np.random.default_rng(number)
    for image in (1, 2):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}_img{image}.ppm"), pixels)
    flow = np.full((height, width, 2), (number, -number), "<f4")
    header = b"PIEH" + struct.pack("<ii", width, height)
    (folder / f"{number:05d}_flow.flo").write_bytes(header + flow.tobytes())


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    for number in (1, 2, 3, 4):
        write_pair(tmp_path, number)
    return tmp_path


def test_items(chairs: Path) -> None:
    image1, image2, flow = FlyingChairs(chairs)[1]
    assert image1.shape == image2.shape == (3, 6, 8)
    assert image1.dtype == torch.uint8
    assert torch.equal(flow[:, 2, 3], torch.tensor([2.0, -2.0]))


def test_images_are_rgb(chairs: Path) -> None:
    bgr = cv2.imread(str(chairs / "00001_img1.ppm"))
    image1 = FlyingChairs(chairs)[0][0]
    assert image1[:, 0, 0].tolist() == bgr[0, 0, ::-1].tolist()


def test_official_split(chairs: Path) -> None:
    (chairs / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n2\n")
    assert [p[0].name[:5] for p in FlyingChairs(chairs, split="train").pairs] == ["00001", "00003"]
    validation = FlyingChairs(chairs, split="validation")
    assert [p[0].name[:5] for p in validation.pairs] == ["00002", "00004"]


def test_split_of_the_wrong_length(chairs: Path) -> None:
    (chairs / "FlyingChairs_train_val.txt").write_text("1\n2\n")
    with pytest.raises(ValueError, match="2 labels for 4 pairs"):
        FlyingChairs(chairs)


@pytest.mark.parametrize("name", ["00003_img2.ppm", "00002_flow.flo"])
def test_first_missing_file_is_named(chairs: Path, name: str) -> None:
    (chairs / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: missing"):
        FlyingChairs(chairs)


def test_empty_and_absent_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no pairs; expected files like"):
        FlyingChairs(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        FlyingChairs(tmp_path / "none")


def test_unreadable_image(chairs: Path) -> None:
    (chairs / "00001_img1.ppm").write_bytes(b"P6 nonsense")
    with pytest.raises(ValueError, match=r"00001_img1\.ppm: not a readable image"):
        FlyingChairs(chairs)[0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a .flo file"),
        (b"PIEX" + bytes(20), "not a .flo file"),
        (b"PIEH" + struct.pack("<ii", 2, 1) + bytes(15), "27 bytes do not hold a 1x2 flow"),
        (b"PIEH" + struct.pack("<ii", -2, -1) + bytes(16), "do not hold"),
        (b"PIEH" + struct.pack("<iiff", 1, 1, 0, 1e10), "flow is unknown"),
        (b"PIEH" + struct.pack("<iiff", 1, 1, 0, float("nan")), "flow is unknown"),
    ],
)
def test_bad_flo(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.flo"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        read_flo(path)


def test_stream_visits_every_pair_once_an_epoch_and_resumes(chairs: Path) -> None:
    def flows(step: int, count: int) -> list[list[float]]:
        batches = iter(DatasetStream(FlyingChairs(chairs), batch=2, seed=0, step=step))
        return [next(batches).flow[:, 0, 0, 0].tolist() for _ in range(count)]

    whole = flows(0, 6)
    for epoch in range(3):
        assert sorted(whole[2 * epoch] + whole[2 * epoch + 1]) == [1, 2, 3, 4]
    assert len({tuple(whole[2 * e] + whole[2 * e + 1]) for e in range(3)}) > 1
    assert flows(3, 3) == whole[3:]


def test_parts_of_a_pair_that_differ_in_size(chairs: Path) -> None:
    other = chairs / "other"
    other.mkdir()
    write_pair(other, 1, height=5)
    (other / "00001_flow.flo").replace(chairs / "00001_flow.flo")
    with pytest.raises(ValueError, match=r"00001_flow\.flo: a flow of 5x8 for images of 6x8 and 6"):
        FlyingChairs(chairs)[0]
    (other / "00001_img2.ppm").replace(chairs / "00001_img2.ppm")
    with pytest.raises(ValueError, match=r"a flow of 5x8 for images of 6x8 and 5x8; expected one"):
        FlyingChairs(chairs)[0]


def test_pairs_that_differ_in_size(chairs: Path) -> None:
    FlyingChairs(chairs).check_alike()
    write_pair(chairs, 3, width=9)
    with pytest.raises(ValueError, match=r"00003_flow\.flo: its pair is of 6x9, that of 00001_fl"):
        FlyingChairs(chairs).check_alike()
