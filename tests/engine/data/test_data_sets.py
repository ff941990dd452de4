"""The published data sets in their own layouts: pairs, splits, passes and masks."""

from pathlib import Path

import numpy as np
import pytest

from engine.data.files import read_pair, require_flows
from engine.data.sources import DATA_SETS, find_source
from engine.flow.formats import write_flow
from tests.support.data_sets import HEIGHT, TREES, WIDTH, half
from tests.support.pictures import flow, image


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in TREES}
    for name, folder in folders.items():
        TREES[name](folder)
    return folders


def names(trees: dict[str, Path], name: str, **options: str | None) -> list[str]:
    return [pair.name for pair in DATA_SETS[name].find_pairs(trees[name], **options)]


THINGS = [
    f"{scene}/{way}/{camera}/OpticalFlowInto{way[5:].capitalize()}_{frame}_{camera[0].upper()}"
    for scene in ("TRAIN/A/0000", "TEST/C/0149")
    for camera in ("left", "right")
    for way, frames in (("into_future", ("0006", "0007")), ("into_past", ("0007", "0008")))
    for frame in frames
]
SINTEL = [
    "alley_1/frame_0001", "alley_1/frame_0002", "bamboo_2/frame_0024", "bamboo_2/frame_0025",
    "market_6/frame_0001",
]  # fmt: skip
SPRING = [
    f"0001/flow_{way}_{camera}/flow_{way}_{camera}_{frame}"
    for camera in ("left", "right")
    for way, frame in (("FW", "0001"), ("BW", "0002"))
]


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("chairs", None, ["00001", "00002", "00003"]),
        ("chairs", "train", ["00001", "00003"]),
        ("chairs", "validation", ["00002"]),
        ("things", None, THINGS),
        ("things", "train", THINGS[:8]),
        ("things", "test", THINGS[8:]),
        ("sintel", None, SINTEL),
        ("sintel", "train", SINTEL[:3]),
        ("sintel", "validation", SINTEL[3:]),
        ("sintel", "test", ["cave_3/frame_0001"]),
        ("kitti2012", None, ["000000_10", "000010_10"]),
        ("kitti2012", "train", ["000010_10"]),
        ("kitti2012", "validation", ["000000_10"]),
        ("kitti2012", "test", ["000000_10", "000010_10"]),
        ("kitti2015", "train", ["000000_10"]),
        ("kitti2015", "validation", ["000010_10"]),
        ("hd1k", None, ["000000_0000", "000000_0001", "000001_0000"]),
        ("hd1k", "test", ["000002_0010"]),
        ("chairssdhom", None, ["train/00000", "train/00001", "test/00000"]),
        ("chairssdhom", "train", ["train/00000", "train/00001"]),
        ("middlebury", None, ["Grove2/flow10", "Venus/flow10"]),
        ("middlebury", "test", ["Army/flow10"]),
        ("spring", None, SPRING),
        ("spring", "test", [name.replace("0001/", "0003/", 1) for name in SPRING]),
        ("frames", None, ["frame2", "frame9"]),
    ],
)
def test_pairs_of_a_split(
    trees: dict[str, Path], name: str, split: str | None, expected: list[str]
) -> None:
    assert names(trees, name, split=split) == expected
    assert [pair.name for pair in find_source(f"{name}:{trees[name]}", split=split)] == expected


@pytest.mark.parametrize("name", TREES)
def test_every_pair_can_be_read(trees: dict[str, Path], name: str) -> None:
    pairs = DATA_SETS[name].find_pairs(trees[name])
    assert len({pair.name for pair in pairs}) == len(pairs)
    if name != "frames":
        require_flows(pairs)
    for pair in map(read_pair, pairs):
        assert pair.size == (HEIGHT, WIDTH)
        assert not np.array_equal(pair.image1, pair.image2) or name == "chairs1485"
        if name not in ("frames", "spring"):
            np.testing.assert_allclose(pair.flow, flow(HEIGHT, WIDTH), atol=1 / 128)


def test_a_pass_is_a_rendering_of_the_same_pairs(trees: dict[str, Path]) -> None:
    for name in ("sintel", "things", "kitti2012"):
        data_set = DATA_SETS[name]
        first = data_set.find_pairs(trees[name])
        assert first == data_set.find_pairs(trees[name], pass_name=data_set.passes[0])
        for pass_name in data_set.passes[1:]:
            other = data_set.find_pairs(trees[name], pass_name=pass_name)
            assert [pair.flow for pair in other] == [pair.flow for pair in first]
            assert not {pair.image1 for pair in other} & {pair.image1 for pair in first}


def test_flow_into_the_past_begins_at_the_later_frame(trees: dict[str, Path]) -> None:
    past = DATA_SETS["things"].find_pairs(trees["things"], split="train")[2]
    assert (past.image1.name, past.image2.name) == ("0007.png", "0006.png")
    back = DATA_SETS["spring"].find_pairs(trees["spring"])[1]
    assert (back.image1.name, back.image2.name) == ("frame_left_0002.png", "frame_left_0001.png")


def test_sintel_s_masks(trees: dict[str, Path]) -> None:
    pair = read_pair(DATA_SETS["sintel"].find_pairs(trees["sintel"])[0])
    np.testing.assert_array_equal(pair.occluded, half(rows=True))
    np.testing.assert_array_equal(pair.invalid, half(rows=False))
    assert pair.foreground is None
    test = read_pair(DATA_SETS["sintel"].find_pairs(trees["sintel"], split="test")[0])
    assert test.occluded is None
    assert not test.valid.any()


def test_kitti_s_masks(trees: dict[str, Path]) -> None:
    """Occluded: known in flow_occ alone; the first pixel of the flow is unknown in both."""
    occluded = half(rows=True)
    occluded[0, 0] = False
    for name in ("kitti2012", "kitti2015"):
        pair = read_pair(DATA_SETS[name].find_pairs(trees[name])[0])
        np.testing.assert_array_equal(pair.occluded, occluded)
        assert not pair.valid[0, 0]
        assert pair.valid.sum() == HEIGHT * WIDTH - 1
        if name == "kitti2015":
            np.testing.assert_array_equal(pair.foreground, half(rows=False))
        else:
            assert pair.foreground is None


def test_spring_has_four_vectors_for_each_pixel(trees: dict[str, Path]) -> None:
    pair = read_pair(DATA_SETS["spring"].find_pairs(trees["spring"])[0])
    assert pair.candidates is not None
    assert pair.candidates.shape == (4, HEIGHT, WIDTH, 2)
    assert pair.candidates[:, 5, 7].tolist() == [[1, 0], [2, 0], [3, 0], [4, 0]]
    assert pair.flow[5, 7].tolist() == [1, 0]
    # One of the first pixel's four vectors is unknown: the benchmark leaves the pixel out.
    assert not pair.valid[0, 0]
    assert pair.valid.sum() == HEIGHT * WIDTH - 1
    np.testing.assert_array_equal(pair.occluded, half(rows=True))
    assert pair.batched().candidates.shape == (1, 4, HEIGHT, WIDTH, 2)


def test_middlebury_marks_unknown_flow_by_large_values(tmp_path: Path) -> None:
    TREES["middlebury"](tmp_path)
    path = tmp_path / "other-gt-flow/Venus/flow10.flo"
    values = bytearray(path.read_bytes())
    values[12:20] = np.float32([1.6666667e9, 1.6666667e9]).tobytes()  # as the published files have
    path.write_bytes(values)
    pair = read_pair(find_source(f"middlebury:{tmp_path}")[1])
    assert not pair.valid[0, 0]
    assert pair.valid[1:].all()


def test_chairs1485_is_split_as_pytorch_splits_it(trees: dict[str, Path]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def split(items, share):
        first = int(len(items) * share)
        generator = torch.Generator().manual_seed(42)
        return torch.utils.data.random_split(
            items, [first, len(items) - first], generator=generator
        )

    everything = names(trees, "chairs1485")
    kept, held_out = split(everything, 0.9)
    train, validation = split(kept, 0.8)
    assert names(trees, "chairs1485", split="train") == list(train)
    assert names(trees, "chairs1485", split="validation") == list(validation)
    assert names(trees, "chairs1485", split="test") == list(held_out)


def test_chairs1485_has_the_sizes_of_the_course(tmp_path: Path) -> None:
    for number in range(1485):
        for part in ("img1.ppm", "img2.ppm", "flow.flo"):
            (tmp_path / f"{number:05}_{part}").touch()
    splits = ("train", "validation", "test")
    parts = [find_source(f"chairs1485:{tmp_path}", split=split) for split in splits]
    assert [len(part) for part in parts] == [1068, 268, 149]
    assert len({pair.name for part in parts for pair in part}) == 1485


@pytest.mark.parametrize("name", ["sintel", "kitti2015", "hd1k"])
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp"])
def test_pictures_of_any_format(tmp_path: Path, name: str, suffix: str) -> None:
    TREES[name](tmp_path)
    for path in tmp_path.rglob("*.png"):
        if "flow" not in path.parent.name:
            path.rename(path.with_suffix(suffix))  # the reader looks at the content
    for files in DATA_SETS[name].find_pairs(tmp_path):
        assert files.image1.suffix == suffix
        assert read_pair(files).size == (HEIGHT, WIDTH)


def test_flow_of_any_format(tmp_path: Path) -> None:
    TREES["sintel"](tmp_path)
    folder = tmp_path / "training/flow/alley_1"
    (folder / "frame_0001.flo").unlink()
    write_flow(folder / "frame_0001.png", flow(HEIGHT, WIDTH))
    files = find_source(f"sintel:{tmp_path}")[0]
    assert files.flow == folder / "frame_0001.png"
    np.testing.assert_array_equal(read_pair(files).image1, image(HEIGHT, WIDTH, 1))
