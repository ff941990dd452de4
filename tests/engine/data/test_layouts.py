"""Folders that are not as a data set is published: each mistake has its own message."""

import shutil
from pathlib import Path

import pytest

from engine.data.files import read_pair
from engine.data.pair import PairsError
from engine.data.sources import find_source
from engine.images import write_image
from tests.support.data_sets import TREES, mask, picture, vectors
from tests.support.pictures import flow, image


def refusal(name: str, folder: Path, split: str | None = None) -> str:
    with pytest.raises(PairsError) as caught:
        list(map(read_pair, find_source(f"{name}:{folder}", split=split)))
    return str(caught.value).replace(str(folder), "DIR")


@pytest.mark.parametrize("name", sorted({*TREES} - {"chairs", "chairs1485"}))
def test_no_folder_a_file_and_an_empty_folder(tmp_path: Path, name: str) -> None:
    kind = f"a folder with {name}" if name != "frames" else "a folder of pictures, or a word such"
    expected = f"; expected {kind}"
    assert refusal(name, tmp_path / "no").startswith(f"DIR does not exist{expected}")
    (tmp_path / "file").touch()
    assert refusal(name, tmp_path / "file").startswith(f"DIR is a file{expected}")
    (tmp_path / "empty").mkdir()
    message = refusal(name, tmp_path / "empty")
    assert message.startswith("DIR ")
    assert "; expected" in message
    assert "is empty" in message or "contains no picture" in message


@pytest.mark.parametrize("name", sorted({*TREES} - {"chairs", "chairs1485", "frames"}))
@pytest.mark.parametrize("other", ["chairs", "sintel", "kitti2012", "frames"])
def test_the_data_set_that_a_folder_looks_like_is_named(
    tmp_path: Path, name: str, other: str
) -> None:
    if name == other:
        other = "spring"
    TREES[name](tmp_path)
    message = refusal(other, tmp_path)
    if other in ("chairs", "frames"):
        assert message.startswith("DIR contains no picture; expected")
    else:
        assert message.startswith(f"DIR does not look like {other}; expected ")
    assert message.endswith(f". DIR looks like {name}: use {name}:DIR")


def test_a_folder_of_flying_chairs(tmp_path: Path) -> None:
    TREES["chairs"](tmp_path)
    assert refusal("kitti2012", tmp_path).endswith(". DIR looks like chairs: use chairs:DIR")
    assert refusal("frames", tmp_path).endswith(". DIR looks like chairs: use chairs:DIR")


@pytest.mark.parametrize("inner", ["training", "training/clean"])
def test_a_folder_inside_a_data_set(tmp_path: Path, inner: str) -> None:
    TREES["sintel"](tmp_path)
    message = refusal("sintel", tmp_path / inner)
    assert message.endswith(f"{tmp_path} looks like sintel: use sintel:{tmp_path}")


def test_a_folder_around_a_data_set(tmp_path: Path) -> None:
    TREES["kitti2015"](tmp_path / "unpacked")
    assert refusal("kitti2015", tmp_path) == (
        "DIR does not look like kitti2015; expected training/image_2/000000_10.png and "
        "training/flow_occ/000000_10.png: give the folder that contains training. DIR/unpacked "
        "looks like kitti2015: use kitti2015:DIR/unpacked"
    )


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        (
            "sintel", "training/flow/alley_1/frame_0002.flo",
            "DIR/training/clean/alley_1/frame_0002.png has no true flow; expected "
            "DIR/training/flow/alley_1/frame_0002.*, as the data set is published: restore it or "
            "remove the image",
        ),
        (
            "sintel", "training/occlusions/alley_1/frame_0001.png",
            "DIR/training/clean/alley_1/frame_0001.png has no mask; expected "
            "DIR/training/occlusions/alley_1/frame_0001.*",
        ),
        (
            "sintel", "training/clean/alley_1/frame_0002.png",
            "DIR/training/clean/alley_1/frame_0001.png has no frame_0002.* beside it, the second "
            "image of its pair; expected consecutive frames: restore it",
        ),
        (
            "sintel", "training/clean/market_6/frame_0002.png",
            "DIR/training/clean/market_6/frame_0001.png is the only picture in its folder; "
            "expected at least two frames: restore the others",
        ),
        ("sintel", "training/flow", "DIR/training/flow/alley_1 does not exist; expected a folder"),
        (
            "sintel", "training/clean",
            "DIR/training/clean does not exist; expected the pass clean: choose the pass final or "
            "albedo, or unpack it",
        ),
        (
            "kitti2012", "training/colored_0",
            "DIR/training/colored_0 does not exist; expected the pass colour: choose the pass "
            "grey, or unpack it",
        ),
        (
            "kitti2015", "training/image_2/000010_11.png",
            "DIR/training/image_2/000010_10.png has no 000010_11.* beside it, the second image of "
            "its pair; expected both: restore it or remove the image",
        ),
        (
            "kitti2015", "training/flow_occ/000000_10.png",
            "DIR/training/image_2/000000_10.png has no true flow; expected "
            "DIR/training/flow_occ/000000_10.*",
        ),
        (
            "kitti2015", "training/obj_map/000000_10.png",
            "DIR/training/image_2/000000_10.png has no mask; expected DIR/training/obj_map/",
        ),
        (
            "hd1k", "hd1k_flow_gt/flow_occ/000000_0001.png",
            "DIR/hd1k_input/image_2/000000_0001.png has no true flow; expected DIR/hd1k_flow_gt/",
        ),
        (
            "hd1k", "hd1k_input/image_2/000000_0001.png",
            "DIR/hd1k_input/image_2/000000_0000.png has no 000000_0001.* beside it",
        ),
        (
            "things", "optical_flow/TRAIN/A/0000/into_past/left/OpticalFlowIntoPast_0007_L.pfm",
            "DIR/frames_cleanpass/TRAIN/A/0000/left/0007.png has no true flow; expected ",
        ),
        (
            "things", "frames_cleanpass/TRAIN/A/0000/left/0007.png",
            "DIR/frames_cleanpass/TRAIN/A/0000/left/0006.png has no 0007.* beside it",
        ),
        (
            "chairssdhom", "data/test/t1/00000.png",
            "DIR/data/test/t1 contains no picture; expected some, with suffixes of .bmp",
        ),
        (
            "chairssdhom", "data/train/t1/00001.png",
            "DIR/data/train has 00001 in t0 alone; expected both images of each pair: restore the",
        ),
        (
            "middlebury", "other-data/Venus/frame11.png",
            "DIR/other-data/Venus has no frame11.*; expected both images: restore it",
        ),
        (
            "middlebury", "other-gt-flow/Venus/flow10.flo",
            "DIR/other-data/Venus/frame10.png has no true flow; expected DIR/other-gt-flow/Venus/",
        ),
        (
            "spring", "train/0001/flow_FW_left/flow_FW_left_0001.flo5",
            "DIR/train/0001/frame_left/frame_left_0001.png has no true flow; expected DIR/train/",
        ),
    ],
)  # fmt: skip
def test_a_missing_file_is_named(tmp_path: Path, name: str, lost: str, message: str) -> None:
    TREES[name](tmp_path)
    path = tmp_path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert message in refusal(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "lost", "split"),
    [
        ("sintel", "test", "test"),
        ("kitti2015", "testing", "test"),
        ("things", "frames_cleanpass/TEST", "test"),
        ("chairssdhom", "data/train", "train"),
        ("middlebury", "eval-data", "test"),
        ("spring", "test", "test"),
        ("hd1k", "hd1k_challenge", "test"),
    ],
)
def test_a_split_that_is_not_unpacked(tmp_path: Path, name: str, lost: str, split: str) -> None:
    TREES[name](tmp_path)
    shutil.rmtree(tmp_path / lost)
    assert find_source(f"{name}:{tmp_path}")
    message = refusal(name, tmp_path, split)
    assert message.startswith(f"DIR/{lost}")
    assert "does not exist; expected" in message
    assert message.endswith(("unpack it", "unpack them"))


def test_a_split_or_pass_that_does_not_exist(tmp_path: Path) -> None:
    TREES["sintel"](tmp_path)
    assert refusal("sintel", tmp_path, "training") == (
        "sintel has no split 'training'; expected one of train, validation, test. Did you mean "
        "'train'?"
    )
    assert "frames has no split 'test'; expected none, as there is one split alone" in refusal(
        "frames", tmp_path, "test"
    )


def test_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "training/clean").mkdir(parents=True)
    assert refusal("sintel", tmp_path) == (
        "DIR has no pairs; expected training/clean/alley_1/frame_0001.png and "
        "training/flow/alley_1/frame_0001.flo: unpack them"
    )
    TREES["chairs"](tmp_path / "chairs")
    (tmp_path / "chairs/FlyingChairs_train_val.txt").write_text("1 1 1")
    assert "DIR has no pairs in its split validation; expected data" in refusal(
        "chairs", tmp_path / "chairs", "validation"
    )


def test_sizes_that_differ(tmp_path: Path) -> None:
    TREES["sintel"](tmp_path)
    root = tmp_path / "training"
    write_image(root / "clean/alley_1/frame_0002.png", image(32, 40, 0))
    assert refusal("sintel", tmp_path) == (
        "DIR/training/clean/alley_1/frame_0001.png is 32x48 and frame_0002.png 32x40; expected "
        "two images of one size: crop or resize one of them"
    )
    picture(root / "clean/alley_1/frame_0002.png", 2)
    write_image(root / "invalid/alley_1/frame_0001.png", image(16, 48, 0))
    assert "frame_0001.png is 16x48 and its images are 32x48; expected one value for" in refusal(
        "sintel", tmp_path
    )
    vectors(root / "flow/alley_1/frame_0001.flo", flow(32, 40))
    assert "frame_0001.flo is 32x40 and its images are 32x48; expected one vector for" in refusal(
        "sintel", tmp_path
    )


def test_spring_s_flow_has_twice_the_size(tmp_path: Path) -> None:
    TREES["spring"](tmp_path)
    vectors(tmp_path / "train/0001/flow_FW_left/flow_FW_left_0001.flo5", flow(32, 48))
    assert "flow_FW_left_0001.flo5 is 32x48 and its images are 32x48; expected 2x2 vectors" in (
        refusal("spring", tmp_path)
    )


def test_spring_without_flow(tmp_path: Path) -> None:
    TREES["spring"](tmp_path)
    for folder in (tmp_path / "train/0001").glob("flow_*"):
        shutil.rmtree(folder)
    assert refusal("spring", tmp_path).startswith("DIR/train has no scene with images and flow; ")


def test_a_mask_that_is_no_picture(tmp_path: Path) -> None:
    TREES["kitti2015"](tmp_path)
    (tmp_path / "training/obj_map/000000_10.png").write_bytes(b"no picture")
    message = refusal("kitti2015", tmp_path)
    assert "000000_10.png starts with b'no pictu'; expected a picture" in message


def test_a_data_set_without_masks(tmp_path: Path) -> None:
    TREES["sintel"](tmp_path)
    for name in ("occlusions", "invalid"):
        shutil.rmtree(tmp_path / "training" / name)
    pair = read_pair(find_source(f"sintel:{tmp_path}")[0])
    assert pair.occluded is pair.invalid is None
    mask(tmp_path / "training/occlusions/bamboo_2/frame_0024.png", pair.valid)
    assert "occlusions/alley_1 does not exist; expected a folder of pictures" in refusal(
        "sintel", tmp_path
    )
