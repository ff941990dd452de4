"""Which files of a folder are pairs, what is in them, and errors that name the file."""

import itertools
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.flow.formats import write_flow
from engine.images import write_image
from export.verify.pair_folders import (
    PICTURE_SUFFIXES,
    PairFiles,
    PairsError,
    files_of_pairs,
    paired,
    read_pair,
    spread,
)
from tests.export.pictures import flow, image, write_pair

# Names of files, but for those that belong to other pairs or are hidden.
ids = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name[0] != "." and not name.endswith(("_img1", "_img2")))
suffixes = st.sampled_from(PICTURE_SUFFIXES).flatmap(
    lambda suffix: st.sampled_from([suffix, suffix.upper()])
)


@given(
    st.dictionaries(ids, st.tuples(suffixes, suffixes), min_size=1),
    st.dictionaries(ids, st.sets(suffixes)),
    st.randoms(),
)
def test_pairs_are_found_among_other_pictures(
    pairs_: dict[str, tuple[str, str]], others: dict[str, set[str]], shuffled: random.Random
) -> None:
    folder = Path("folder")
    expected = {
        (name, folder / f"{name}_img1{one}", folder / f"{name}_img2{two}")
        for name, (one, two) in pairs_.items()
    }
    files = [path for _, *both in expected for path in both]
    # Some by two names that differ in their suffix alone.
    files += [folder / f"{name}{one}" for name, suffixes in others.items() for one in suffixes]
    shuffled.shuffle(files)

    found = paired(files)

    assert len(found) == len(expected)
    assert {(pair.name, pair.image1, pair.image2) for pair in found} == expected
    assert all(pair.flow == folder / f"{pair.name}_flow.flo" for pair in found)
    shuffled.shuffle(files)
    assert paired(files) == found


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
        paired(files)
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
    found = paired(mixed)
    assert [(pair.image1, pair.image2) for pair in found] == list(itertools.pairwise(frames))
    assert [pair.flow.name for pair in found] == [f"{frame.stem}_flow.flo" for frame in frames[:-1]]


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_selection_is_spread_evenly(count: int, limit: int) -> None:
    files = [PairFiles(str(i), Path(), Path()) for i in range(count)]
    chosen = [int(pair.name) for pair in spread(files, limit)]
    assert len(chosen) == min(count, limit)
    assert chosen[0] == 0
    # The last distance is that to the end, as if the set began again there.
    gaps = {two - one for one, two in itertools.pairwise([*chosen, count])}
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    for name in ("00001", "00002"):
        write_pair(tmp_path, name)
    return tmp_path


def test_a_pair_is_read_as_it_was_written(chairs: Path) -> None:
    (chairs / "00002_flow.flo").unlink()
    files = files_of_pairs(chairs)
    assert [pair.name for pair in files] == ["00001", "00002"]
    for pair, expected in zip(files, (flow(64, 64), None), strict=True):
        image1, image2, found = read_pair(pair)
        np.testing.assert_array_equal(image1, image(64, 64, 1))
        np.testing.assert_array_equal(image2, image(64, 64, 2))
        assert found is None or found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_opencv_reads_every_suffix(tmp_path: Path, suffix: str) -> None:
    for path in (tmp_path / f"a{suffix}", tmp_path / f"b{suffix.upper()}"):
        if suffix == ".pgm":  # holds grey alone
            path.write_bytes(b"P5 64 64 255\n" + bytes([100]) * 4096)
        else:
            write_image(path, np.full((64, 64, 3), 100, np.uint8))
    (pair,) = files_of_pairs(tmp_path)
    for picture in read_pair(pair)[:2]:
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
            "{folder} holds both 00002_img1.jpg and 00002_img1.png; expected one picture of each "
            "name: remove one of them",
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
            "{folder}/00002_img2.png is not a picture OpenCV can read. Convert it to .png.",
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
            "{folder}/00002_flow.flo: holds 32767 bytes of data, expected 32768 from its header: "
            "truncated. Fetch or write it again.",
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
        f"{tmp_path} holds no picture; expected at least two, with suffixes of .bmp .jp2 .jpeg "
        ".jpg .pgm .png .pnm .ppm .tif .tiff .webp: give the folder that they lie in directly"
    )
    write_image(tmp_path / "00001.png", image(64, 64, 0))
    assert refusal(tmp_path) == (
        f"{tmp_path / '00001.png'} is the only picture in its folder; expected at least two "
        "frames, or <id>_img1.* with <id>_img2.*: add the next frame"
    )


def refusal(folder: Path) -> str:
    with pytest.raises(PairsError) as caught:
        list(map(read_pair, files_of_pairs(folder)))
    return str(caught.value)


def test_frames_of_a_video_with_flow(tmp_path: Path) -> None:
    for number in (2, 10, 9):
        write_image(tmp_path / f"frame{number}.png", np.full((64, 64, 3), number, np.uint8))
    write_flow(tmp_path / "frame9_flow.flo", flow(64, 64))
    pairs = files_of_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["frame2", "frame9"]
    (two, nine, unknown), (nine_again, ten, known) = map(read_pair, pairs)
    assert [int(picture.max()) for picture in (two, nine, nine_again, ten)] == [2, 9, 9, 10]
    assert unknown is None
    np.testing.assert_array_equal(known, flow(64, 64))
