"""Which files of a folder are pairs, in random trees of files and by name."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.chairs import PICTURE_SUFFIXES, find_pairs, pair_up
from engine.data.chairs_split import SPLIT_FILES
from engine.data.files import PairFiles, require_flows
from engine.data.pair import PairsError
from engine.flow.formats import FLOW_SUFFIXES

# Names of files, but for those that belong to other pairs or are hidden.
ids = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name[0] != "." and not name.endswith(("_img1", "_img2", "_flow")))
suffixes = st.sampled_from(PICTURE_SUFFIXES).flatmap(
    lambda suffix: st.sampled_from([suffix, suffix.upper()])
)
flow_suffixes = st.sets(st.sampled_from(FLOW_SUFFIXES))


@given(
    st.dictionaries(ids, st.tuples(suffixes, suffixes, flow_suffixes), min_size=1),
    st.dictionaries(ids, st.sets(suffixes)),
    st.randoms(),
)
def test_pairs_are_found_among_other_pictures(
    pairs: dict[str, tuple[str, str, set[str]]],
    others: dict[str, set[str]],
    shuffled: random.Random,
) -> None:
    folder = Path("folder")
    files, expected = [], {}
    for name, (one, two, flows) in pairs.items():
        images = folder / f"{name}_img1{one}", folder / f"{name}_img2{two}"
        stored = [folder / f"{name}_flow{suffix}" for suffix in FLOW_SUFFIXES if suffix in flows]
        files += [*images, *stored]
        expected[name] = PairFiles(name, *images, stored[0] if stored else None)
    # Some by two names that differ in their suffix alone.
    files += [folder / f"{name}{one}" for name, suffixes in others.items() for one in suffixes]
    shuffled.shuffle(files)

    found = pair_up(files)

    assert {pair.name: pair for pair in found} == expected
    assert len(found) == len(expected)
    shuffled.shuffle(files)
    assert pair_up(files) == found


@given(
    st.dictionaries(ids, st.tuples(suffixes, suffixes), min_size=1),
    st.sampled_from([0, 1]),
    st.data(),
)
def test_an_image_without_its_other_is_named(
    pairs_: dict[str, tuple[str, str]], lost: int, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(pairs_)))
    files = [
        Path(f"{stem}_img{i + 1}{suffix}")
        for stem, both in pairs_.items()
        for i, suffix in enumerate(both)
        if (stem, i) != (name, lost)
    ]
    with pytest.raises(PairsError) as caught:
        pair_up(files)
    left = f"{name}_img{2 - lost}{pairs_[name][1 - lost]}"
    assert str(caught.value) == (
        f"{left} has no {name}_img{lost + 1}.* beside it; expected both images of each pair: "
        "restore the one or remove the other"
    )


@given(
    st.sets(st.integers(0, 2000), min_size=2, max_size=30),
    st.sampled_from(["", "frame", "Frame_", "2 of 3 "]),
    st.sampled_from(["", "_left", "b"]),
    st.integers(1, 6),
    st.randoms(),
)
def test_frames_follow_each_other_by_number(
    numbers: set[int], before: str, after: str, digits: int, shuffled: random.Random
) -> None:
    """However many digits, whichever numbers are missing, whatever their suffixes are."""
    frames = [
        Path(f"{before}{number:0{digits}}{after}{PICTURE_SUFFIXES[number % 4]}")
        for number in sorted(numbers)
    ]
    mixed = list(frames)
    shuffled.shuffle(mixed)
    found = pair_up(mixed)
    assert [(pair.image1, pair.image2) for pair in found] == list(itertools.pairwise(frames))


@given(
    st.dictionaries(st.integers(0, 99), flow_suffixes, min_size=2, max_size=6),
    st.booleans(),
    st.sampled_from([None, *SPLIT_FILES]),
    st.booleans(),
    st.data(),
)
def test_a_tree_of_files(
    tree: dict[int, set[str]],
    below: bool,
    split_file: str | None,
    beside: bool,
    data: st.DataObject,
) -> None:
    """As in the archive of Flying Chairs: pairs in ``data``, a split file, other files."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name) / "FlyingChairs_release"
        folder = top / "data" if below else top
        folder.mkdir(parents=True)
        (top / "preview.png").touch()
        (top / "README.txt").touch()
        (folder / "._1_img1.ppm").touch()
        (top / "further").mkdir()
        (top / "further" / "1_img1.ppm").touch()
        for number, flows in tree.items():
            for part in ("img1.ppm", "img2.ppm", *(f"flow{suffix}" for suffix in flows)):
                (folder / f"{number}_{part}").touch()
        order = [str(number) for number in sorted(tree)]
        labels = [data.draw(st.sampled_from("12")) for _ in order]
        if split_file is not None:
            place = top.parent if beside else top
            (place / split_file).write_text("\n".join(labels))
        found = find_pairs(top)
        assert [pair.name for pair in found] == order
        assert all(pair.image1.parent == folder for pair in found)
        for label, split in zip("12", ("train", "validation"), strict=True):
            expected = [
                name
                for name, one in zip(order, labels, strict=True)
                if split_file is None or one == label
            ]
            assert [pair.name for pair in find_pairs(top, split=split)] == expected


def test_a_folder_s_own_pairs_come_before_those_below(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a_img1.png", "a_img2.png", "data/b_img1.png", "data/b_img2.png"):
        (tmp_path / name).touch()
    assert [pair.name for pair in find_pairs(tmp_path)] == ["a"]


def test_frames_are_not_taken_from_below(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("1.png", "2.png", "data/3.png", "data/4.png"):
        (tmp_path / name).touch()
    assert [pair.name for pair in find_pairs(tmp_path)] == ["1"]


def test_flow_in_a_picture_format_is_not_a_frame(tmp_path: Path) -> None:
    for name in ("1.png", "1_flow.png", "2.png", "2_flow.png", "3.png"):
        (tmp_path / name).touch()
    assert find_pairs(tmp_path) == [
        PairFiles(
            one, tmp_path / f"{one}.png", tmp_path / f"{two}.png", tmp_path / f"{one}_flow.png"
        )
        for one, two in (("1", "2"), ("2", "3"))
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("1 2", "2 labels for 3 pairs; expected one for each"),
        ("1 2 1 1", "4 labels for 3 pairs"),
        ("1 2 3", r"the label '3' is neither 1 \(training\) nor 2 \(validation\); restore"),
        ("1 2 0", "the label '0' is neither"),
        ("1 1.5 2", "the label '1.5' is neither"),
        ("1 inf 2", "the label 'inf' is neither"),
        ("1 nan 2", "the label 'nan' is neither"),
        ("train val train", "the label 'train' is neither"),
        ("\xff" * 400, "the label '.{20}' is neither"),
    ],
)
def test_a_split_file_that_does_not_fit(tmp_path: Path, labels: str, message: str) -> None:
    for number in range(3):
        for image in (1, 2):
            (tmp_path / f"{number}_img{image}.ppm").touch()
    (tmp_path / SPLIT_FILES[0]).write_text(labels, encoding="latin-1")
    with pytest.raises(PairsError, match=rf"FlyingChairs_train_val\.txt: {message}"):
        find_pairs(tmp_path, split="train")
    assert len(find_pairs(tmp_path)) == 3


def test_labels_as_numpy_writes_them(tmp_path: Path) -> None:
    for name in ("a_img1.ppm", "a_img2.ppm", "b_img1.ppm", "b_img2.ppm"):
        (tmp_path / name).touch()
    (tmp_path / SPLIT_FILES[1]).write_text("1.000000000000000000e+00\n2.0\n")
    assert [pair.name for pair in find_pairs(tmp_path, split="validation")] == ["b"]


def test_the_first_pair_without_flow_is_named() -> None:
    pairs = pair_up(
        Path(f"{name}_{part}") for name in "ab" for part in ("img1.png", "img2.png", "flow.pfm")
    )
    require_flows(pairs)
    without = [pairs[0], *pair_up([Path("c_img1.png"), Path("c_img2.png")])]
    with pytest.raises(PairsError) as caught:
        require_flows(without)
    assert str(caught.value) == (
        "c_img1.png has no true flow; expected c_flow.* beside it, with a suffix of .flo .pfm .npy "
        ".npz .png .flo5, or a data set with flow: add it or leave the pair out"
    )
