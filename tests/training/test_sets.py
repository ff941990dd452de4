"""Pairs on disk as tensors, and streams of batches of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.data.data_set import Use
from engine.data.pair import PairsError
from engine.flow.formats import write_flow
from engine.images import write_image
from tests.support.data_sets import HEIGHT, TREES, WIDTH
from training.data.sets import PairDataset, first_pairs
from training.data.streams import DatasetStream


def write_pair(
    folder: Path, number: int, *, height: int = 6, width: int = 8, suffix: str = ".ppm"
) -> None:
    rng = np.random.default_rng(number)
    for image in (1, 2):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        write_image(folder / f"{number:05d}_img{image}{suffix}", pixels)
    flow = np.full((height, width, 2), (number, -number), np.float32)
    write_flow(folder / f"{number:05d}_flow.flo", flow)


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    for number in (1, 2, 3, 4):
        write_pair(tmp_path, number)
    return tmp_path


def names(folder: Path | str, use: Use) -> list[str]:
    return [files.name for files in PairDataset(str(folder), use=use).files]


@pytest.mark.parametrize("suffix", [".ppm", ".png", ".bmp"])
def test_items(tmp_path: Path, suffix: str) -> None:
    for number in (1, 2):
        write_pair(tmp_path, number, suffix=suffix)
    image1, image2, flow = PairDataset(str(tmp_path))[1]
    assert image1.shape == image2.shape == (3, 6, 8)
    assert image1.dtype == torch.uint8
    assert torch.equal(flow[:, 2, 3], torch.tensor([2.0, -2.0]))
    bgr = cv2.imread(str(tmp_path / f"00002_img1{suffix}"))
    assert image1[:, 0, 0].tolist() == bgr[0, 0, ::-1].tolist()


def test_official_split(chairs: Path) -> None:
    (chairs / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n2\n")
    assert names(chairs, "train") == ["00001", "00003"]
    assert names(chairs, "validation") == ["00002", "00004"]


def test_a_pair_without_flow_is_named(chairs: Path) -> None:
    (chairs / "00002_flow.flo").unlink()
    with pytest.raises(PairsError, match=r"00002_img1\.ppm has no true flow"):
        PairDataset(str(chairs))


def test_unknown_flow_is_nan(chairs: Path) -> None:
    flow = np.full((6, 8, 2), 3, np.float32)
    flow[0, 0] = flow[1, 1, 0] = np.nan
    write_flow(chairs / "00001_flow.flo", flow)
    item = PairDataset(str(chairs))[0][2]
    assert item.isnan().all(dim=0).nonzero().tolist() == [[0, 0], [1, 1]]
    write_flow(chairs / "00001_flow.flo", np.full((6, 8, 2), np.nan, np.float32))
    with pytest.raises(PairsError, match=r"00001_flow\.flo: flow is unknown at every pixel"):
        PairDataset(str(chairs))[0]


def test_the_first_pairs_are_batches_of_one(chairs: Path) -> None:
    dataset = PairDataset(str(chairs))
    assert len(first_pairs(dataset, 9)) == 4
    first, second = first_pairs(dataset, 2)
    assert first.image1.shape == (1, 3, 6, 8)
    assert second.flow[0, :, 0, 0].tolist() == [2, -2]
    assert not second.occluded.any()
    assert second.occluded.shape == (1, 1, 6, 8)


def test_stream_visits_every_pair_once_an_epoch_and_resumes(chairs: Path) -> None:
    def flows(step: int, count: int) -> list[list[float]]:
        batches = iter(DatasetStream(PairDataset(str(chairs)), batch=2, seed=0, step=step))
        return [next(batches).flow[:, 0, 0, 0].tolist() for _ in range(count)]

    whole = flows(0, 6)
    for epoch in range(3):
        assert sorted(whole[2 * epoch] + whole[2 * epoch + 1]) == [1, 2, 3, 4]
    assert len({tuple(whole[2 * e] + whole[2 * e + 1]) for e in range(3)}) > 1
    assert flows(3, 3) == whole[3:]


def test_pairs_of_nearly_one_size_are_cropped(tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(40, 50), (38, 51), (39, 50)]):
        write_pair(tmp_path, number, height=height, width=width)
    dataset = PairDataset(str(tmp_path))
    whole = [dataset[index] for index in range(3)]
    assert dataset.crop_to_one_size() == (38, 50)
    for before, after, (top, left) in zip(whole, dataset, [(1, 0), (0, 0), (0, 0)], strict=False):
        for old, new in zip(before, after, strict=True):
            assert torch.equal(new, old[:, top : top + 38, left : left + 50])


def test_pairs_that_differ_in_size(chairs: Path) -> None:
    assert PairDataset(str(chairs)).crop_to_one_size() == (6, 8)
    write_pair(chairs, 3, width=9)
    with pytest.raises(
        PairsError,
        match=r"00003_flow\.flo: its pair is of 6x9, the smallest sides are 6 and 8",
    ):
        PairDataset(str(chairs)).crop_to_one_size()


def test_the_size_of_spring_s_pairs_is_that_of_the_images(tmp_path: Path) -> None:
    TREES["spring"](tmp_path)
    assert PairDataset(f"spring:{tmp_path}").crop_to_one_size() == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("source", "training", "validation"),
    [
        ("sintel", ["alley_1/frame_0001", "alley_1/frame_0002"], ["bamboo_2/frame_0025"]),
        ("kitti2015", ["000000_10"], ["000010_10"]),
        ("chairssdhom", ["train/00000", "train/00001"], ["test/00000"]),
        ("hd1k", ["000000_0000", "000000_0001"], ["000000_0000", "000000_0001"]),
    ],
)
def test_the_split_of_each_data_set(
    tmp_path: Path, source: str, training: list[str], validation: list[str]
) -> None:
    TREES[source](tmp_path)
    for use, expected in (("train", training), ("validation", validation)):
        found = names(f"{source}:{tmp_path}", use)
        assert found[: len(expected)] == expected


def test_a_pass(tmp_path: Path) -> None:
    TREES["sintel"](tmp_path)
    first = PairDataset(f"sintel/final:{tmp_path}").files[0]
    assert first.image1 == tmp_path / "training/final/alley_1/frame_0001.png"
