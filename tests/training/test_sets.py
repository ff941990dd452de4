"""Pairs on disk as tensors, and streams of batches of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.data.pair import PairsError
from engine.flow.formats import write_flow
from engine.images import write_image
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


def names(folder: Path, split: str) -> list[str]:
    return [files.name for files in PairDataset(str(folder), split=split).files]


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


def test_training_needs_dense_flow(chairs: Path) -> None:
    flow = np.zeros((6, 8, 2), np.float32)
    flow[0, 0] = flow[1, 1, 0] = np.nan
    write_flow(chairs / "00001_flow.flo", flow)
    with pytest.raises(PairsError, match=r"00001_flow\.flo: flow is unknown at 2 pixels; expected"):
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


def test_pairs_that_differ_in_size(chairs: Path) -> None:
    PairDataset(str(chairs)).check_one_size()
    write_pair(chairs, 3, width=9)
    with pytest.raises(PairsError, match=r"00003_flow\.flo: its pair is of 6x9, that of 00001_fl"):
        PairDataset(str(chairs)).check_one_size()
