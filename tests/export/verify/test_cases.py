"""The pairs of a build: their sizes, names and true flow, and which are never the same."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import SYNTHETIC_SEED
from engine.bundle.manifest import SizeProfile
from engine.data.pair import Pair, PairsError
from engine.flow.formats import write_flow
from engine.images import write_image
from export.options import GATE_SOURCES
from export.verify import cases as pairs
from export.verify.cases import (
    CALIBRATION_SEED,
    GATE_SEED,
    calibration_pairs,
    described,
    gate_pairs,
    pairs_within,
)
from tests.support.pictures import flow, image, write_pair
from training.data.batch import PairBatch
from training.synthetic.render import SyntheticPairs
from training.validation import VALIDATION_SEED

PROFILE = SizeProfile((1, 64, 64), (1, 384, 512), (4, 1088, 1920))
SMALL = SizeProfile((1, 64, 64), (1, 64, 64), (1, 128, 192))


@st.composite
def profiles(draw: st.DrawFn) -> SizeProfile:
    sides = [sorted(draw(st.lists(st.integers(1, 12), min_size=3, max_size=3))) for _ in "hw"]
    low, opt, high = ((64 * height, 64 * width) for height, width in zip(*sides, strict=True))
    return SizeProfile((1, *low), (1, *opt), (draw(st.integers(1, 4)), *high))


@settings(max_examples=10, deadline=None)
@given(profiles())
def test_pairs_fit_the_profile_after_padding(profile: SizeProfile) -> None:
    for pair in pairs_within(profile):
        batch, *size, channels = pair.image1.shape
        padded = (batch, *(-(-side // 64) * 64 for side in size))
        assert pair.image1.dtype == np.uint8
        assert pair.image1.shape == pair.image2.shape
        assert channels == 3
        assert all(
            low <= side <= high
            for low, side, high in zip(profile.min, padded, profile.max, strict=True)
        )


def test_pairs_cover_odd_sizes_and_batches() -> None:
    shapes = {pair.name: pair.image1.shape for pair in pairs_within(PROFILE)}
    assert shapes == {
        "motorcycle 500x741": (1, 500, 741, 3),
        "noise 1x384x512": (1, 384, 512, 3),
        "noise 1x381x507": (1, 381, 507, 3),
        "noise 2x128x128": (2, 128, 128, 3),
        "motorcycle 375x555": (1, 375, 555, 3),
    }


def test_the_last_pair_has_a_size_of_its_own_and_motion() -> None:
    """OpenVINO computes all sizes but the first two with dynamic shapes."""
    *others, last = pairs_within(PROFILE)
    sizes = {tuple(-(-side // 64) * 64 for side in pair.size) for pair in others}
    assert len(sizes) >= 2
    assert tuple(-(-side // 64) * 64 for side in last.size) not in sizes
    assert np.nanmean(np.abs(last.flow[..., 0])) > 10


def test_one_size_needs_no_part() -> None:
    size = (1, 448, 640)
    names = [pair.name for pair in pairs_within(SizeProfile(size, size, size))]
    assert names[0] == "motorcycle 448x640"
    assert sum(name.startswith("motorcycle") for name in names) == 1


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    folder = tmp_path / "chairs"
    folder.mkdir()
    for name in ("00001", "00002"):
        write_pair(folder, name)
    return folder


def test_at_most_64_pairs_of_a_folder_are_read(tmp_path: Path) -> None:
    for number in range(131):
        write_image(tmp_path / f"{number}.bmp", np.full((8, 8, 3), number, np.uint8))
    shades = [int(pair.image1.max()) for pair in calibration_pairs(str(tmp_path), (64, 64), 8)]
    # 130 pairs: the 32nd of 64 starts the second half.
    assert (len(shades), shades[0], shades[32], shades[-1]) == (64, 0, 65, 127)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (64, 64, slice(0, 64), slice(0, 64)),
        (70, 130, slice(3, 67), slice(1, 129)),
        (127, 191, slice(31, 95), slice(31, 159)),
    ],
)
def test_calibration_cuts_out_the_middle(
    tmp_path: Path, height: int, width: int, rows: slice, columns: slice
) -> None:
    write_pair(tmp_path, "x", height, width)
    (pair,) = calibration_pairs(str(tmp_path), (64, 64), 64)
    np.testing.assert_array_equal(pair.image1[0], image(height, width, 1)[rows, columns])
    np.testing.assert_array_equal(pair.image2[0], image(height, width, 2)[rows, columns])
    np.testing.assert_array_equal(pair.flow[0], flow(height, width)[rows, columns])
    assert pair.name == "x {}x{}".format(*pair.image1.shape[1:3])


@pytest.mark.parametrize(
    ("height", "width", "size"), [(1, 1, (64, 64)), (63, 64, (64, 64)), (40, 130, (64, 192))]
)
def test_calibration_pads_what_is_too_small(
    tmp_path: Path, height: int, width: int, size: tuple[int, int]
) -> None:
    write_pair(tmp_path, "x", height, width)
    (pair,) = calibration_pairs(str(tmp_path), (64, 64), 64)
    kept = np.s_[0, :height, :width]
    margin = ((0, size[0] - height), (0, size[1] - width), (0, 0))
    np.testing.assert_array_equal(pair.image1[kept], image(height, width, 1))
    np.testing.assert_array_equal(pair.image2[0], np.pad(pair.image2[kept], margin, mode="edge"))
    np.testing.assert_array_equal(pair.flow[kept], flow(height, width))
    known = np.isfinite(pair.flow).all(axis=-1)
    assert known.sum() == height * width - 1
    assert pair.flow.shape == (1, *size, 2)


@pytest.fixture(scope="module")
def synthetic() -> tuple[list[Pair], list[Pair]]:
    """What calibration and the gate render."""
    gate = gate_pairs(["synthetic"], SMALL, 64)["synthetic"]
    return calibration_pairs("synthetic", (64, 64), 64), gate


def test_synthetic_pairs_are_the_same_in_every_build_and_differ_from_each_other(
    synthetic: tuple[list[Pair], list[Pair]],
) -> None:
    calibration, gate = synthetic
    assert (len(calibration), len(gate)) == (32, 128)
    for one, two in (
        *zip(calibration, calibration_pairs("synthetic", (64, 64), 64), strict=True),
        *zip(gate, gate_pairs(["synthetic"], SMALL, 64)["synthetic"], strict=True),
    ):
        assert one.name == two.name
        assert one.image1.shape == one.image2.shape == (1, 64, 64, 3)
        assert one.flow.shape == (1, 64, 64, 2)
        for values in ("image1", "image2", "flow"):
            np.testing.assert_array_equal(getattr(one, values), getattr(two, values))
    assert len({pair.image1.tobytes() for pair in (*calibration, *gate)}) == 160


def test_synthetic_flow_leads_from_the_first_image_to_the_second(
    synthetic: tuple[list[Pair], list[Pair]],
) -> None:
    """Channels last, x then y: a pixel moved by the rounded flow keeps its colour, mostly."""
    moved, stayed = [], []
    y, x = np.mgrid[:64, :64]
    for pair in synthetic[0]:
        to_x, to_y = (np.rint(pair.flow[0, ..., i]).astype(int) + c for i, c in ((0, x), (1, y)))
        inside = (to_x >= 0) & (to_x < 64) & (to_y >= 0) & (to_y < 64)
        here = pair.image1[0][inside].astype(int)
        moved.append(np.abs(here - pair.image2[0][to_y[inside], to_x[inside]]))
        stayed.append(np.abs(here - pair.image2[0][inside]))
    assert np.median(np.concatenate(moved)) < 0.3 * np.median(np.concatenate(stayed))


@pytest.mark.parametrize(
    ("size", "gflop", "count"),
    # 128 * 384 * 512 pixels are 54.9 pairs of 448x1024 and 12.0 of 1088x1920.
    [
        ((64, 64), 0.0, 128),
        ((384, 512), 45.0, 128),
        ((384, 512), 198.2, 29),
        ((384, 512), 1000.0, 16),
        ((448, 1024), 45.0, 54),
        ((1088, 1920), 0.0, 16),
    ],
)
def test_the_gate_has_fewer_pairs_of_more_pixels_or_operations(
    size: tuple[int, int], gflop: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []

    class Renderer:
        def render(self, batch: int, _seed: int) -> PairBatch:
            rendered.append(batch)
            small = torch.zeros(batch, 3, 64, 64, dtype=torch.uint8)
            return PairBatch(small, small, torch.zeros(batch, 2, 64, 64), small[:, :1].bool())

    monkeypatch.setattr(pairs, "_renderer", lambda _size: Renderer())
    profile = SizeProfile((1, 64, 64), (1, *size), (1, 1088, 1920))
    found = gate_pairs(["synthetic"], profile, 64, gflop)["synthetic"]
    assert sum(rendered) == len(found) == count
    assert len({pair.name for pair in found}) == count


def test_the_number_of_pairs_can_be_set(tmp_path: Path) -> None:
    for number in range(8):
        write_pair(tmp_path, str(number))
    found = calibration_pairs(str(tmp_path), (64, 64), 8, wanted=4)
    assert [pair.name.split()[0] for pair in found] == ["0", "2", "4", "6"]
    sets = gate_pairs(["motorcycle", "synthetic", str(tmp_path)], SMALL, 64, wanted=3)
    assert [len(pairs) for pairs in sets.values()] == [4, 3, 3]  # the first has no more or fewer


def test_no_seed_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in torch either, which takes 32 bits of a seed, and of two seeds 1_000_003 apart."""
    seeds = []
    same = pairs._renderer((64, 64)).render(4, 0)

    def recorded(_renderer: SyntheticPairs, _batch: int, seed: int) -> PairBatch:
        seeds.append(seed)
        return same

    monkeypatch.setattr(SyntheticPairs, "render", recorded)
    calibration_pairs("synthetic", (64, 64), 64)
    gate_pairs(["synthetic"], SMALL, 64)
    used = set(seeds)
    assert len(used) == len(seeds)
    assert {CALIBRATION_SEED, GATE_SEED} <= used
    assert max(used) + 1_000_003 < 2**32
    others = (0, VALIDATION_SEED, SYNTHETIC_SEED)
    starts = sorted((*others, CALIBRATION_SEED, GATE_SEED))
    assert all(two - one >= 100_000_000 for one, two in itertools.pairwise(starts))
    assert all(seed - max(s for s in starts if s <= seed) < 100 for seed in used)


def test_the_gates_motorcycle_is_the_verified_one() -> None:
    pair, *_ = gate_pairs(["motorcycle"], PROFILE, 64)["motorcycle"]
    verified = pairs_within(PROFILE)[0]
    assert pair.name == verified.name == "motorcycle 500x741"
    np.testing.assert_array_equal(pair.image2, verified.image2)
    np.testing.assert_array_equal(pair.flow, verified.flow)


def test_the_gates_motorcycle_is_seen_in_four_ways() -> None:
    """Flow leads from a pixel to the same place however the picture is turned."""
    found = gate_pairs(["motorcycle"], PROFILE, 64)["motorcycle"]
    names = [pair.name.removesuffix(" 500x741") for pair in found]
    ways = ("", " mirrored", " upside down", " turned")
    assert names == [f"motorcycle{way}" for way in ways]
    (_, height, width, _), pair = found[0].image1.shape, found[0]
    y, x = 123, 456
    for other, (top, left) in zip(
        found,
        ((y, x), (y, width - 1 - x), (height - 1 - y, x), (height - 1 - y, width - 1 - x)),
        strict=True,
    ):
        np.testing.assert_array_equal(other.image1[0, top, left], pair.image1[0, y, x])
        np.testing.assert_array_equal(other.image2[0, top, left], pair.image2[0, y, x])
        there = np.array((x, y)) + pair.flow[0, y, x]
        turned = np.array((left, top)) + other.flow[0, top, left]
        expected = [
            there[0] if left == x else width - 1 - there[0],
            there[1] if top == y else height - 1 - there[1],
        ]
        np.testing.assert_allclose(turned, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "kept", "size"),
    [
        (100, 150, (100, 150), (100, 150)),
        (2, 3, (2, 3), (65, 3)),
        (64, 1, (64, 1), (65, 1)),
        (130, 193, (128, 192), (128, 192)),
        (200, 50, (128, 50), (128, 50)),
    ],
)
def test_a_gates_pairs_keep_their_size_within_the_profile(
    tmp_path: Path, height: int, width: int, kept: tuple[int, int], size: tuple[int, int]
) -> None:
    profile = SizeProfile((1, 128, 64), (1, 128, 64), (1, 128, 192))
    write_pair(tmp_path, "x", height, width)
    ((pair,),) = gate_pairs([str(tmp_path)], profile, 64).values()
    padded = [-(-side // 64) * 64 for side in pair.image1.shape[1:3]]
    limits = zip(profile.min[1:], padded, profile.max[1:], strict=True)
    assert all(low <= side <= high for low, side, high in limits)
    assert pair.image1.shape == pair.image2.shape == (1, *size, 3)
    expected = np.full((1, *size, 2), np.nan)
    expected[0, : kept[0], : kept[1]] = flow(height, width)[: kept[0], : kept[1]]
    np.testing.assert_array_equal(pair.flow, expected)
    margin = ((0, size[0] - kept[0]), (0, size[1] - kept[1]), (0, 0))
    cropped = image(height, width, 2)[: kept[0], : kept[1]]
    np.testing.assert_array_equal(pair.image2[0], np.pad(cropped, margin, mode="edge"))


def test_sets_are_named_by_their_source(chairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chairs)
    for source in (".", "../chairs", str(chairs) + os.sep):
        assert list(gate_pairs(["motorcycle", source], SMALL, 64)) == ["motorcycle", "chairs"]
    assert GATE_SOURCES == ("motorcycle", "synthetic")
    assert list(gate_pairs(GATE_SOURCES, SMALL, 64)) == ["motorcycle", "synthetic"]


def test_a_data_set_in_its_published_layout(tmp_path: Path) -> None:
    for scene, width in (("Grove2", 70), ("Venus", 90)):
        folders = tmp_path / "other-data" / scene, tmp_path / "other-gt-flow" / scene
        for folder in folders:
            folder.mkdir(parents=True)
        for frame in (10, 11):
            write_image(folders[0] / f"frame{frame}.png", image(64, width, frame))
        write_flow(folders[1] / "flow10.flo", flow(64, width))
    ((name, found),) = gate_pairs([f"middlebury:{tmp_path}"], PROFILE, 64).items()
    assert described(name, found) == "middlebury, 2 pairs of 64x70 to 64x90"


@pytest.mark.parametrize("again", ["chairs", "elsewhere/chairs", "./chairs/"])
def test_two_sets_of_one_name(chairs: Path, again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chairs.parent)
    with pytest.raises(PairsError, match="2 sets of pairs are named chairs; expected different"):
        gate_pairs(["chairs", "motorcycle", again], SMALL, 64)
    with pytest.raises(PairsError, match="2 sets of pairs are named synthetic"):
        gate_pairs(["synthetic", "other/synthetic"], SMALL, 64)


def test_a_gate_wants_true_flow_of_every_pair_and_says_so_at_once(
    chairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chairs / "00002_flow.flo").unlink()
    monkeypatch.setattr(pairs, "_rendered", lambda *_a, **_k: pytest.fail("rendered first"))
    message = r"00002_img1\.png has no true flow; expected 00002_flow\.\* beside it, with"
    with pytest.raises(PairsError, match=message):
        gate_pairs(["synthetic", str(chairs)], SMALL, 64)


def test_a_gates_flow_is_known_somewhere_in_what_is_kept(chairs: Path) -> None:
    unknown = np.full((64, 200, 2), np.nan, np.float32)
    unknown[:, 192:] = 0
    write_pair(chairs, "00002", 64, 200)
    write_flow(chairs / "00002_flow.flo", unknown)
    with pytest.raises(PairsError, match="00002 64x192: its true flow is unknown at every pixel"):
        gate_pairs([str(chairs)], SMALL, 64)


def test_pairs_are_counted_in_words() -> None:
    one, two, other = (
        Pair.without_flow("", *np.zeros((2, 1, height, width, 3), np.uint8))
        for height, width in ((4, 6), (4, 6), (8, 2))
    )
    assert described("motorcycle", [one]) == "motorcycle, 1 pair of 4x6"
    assert described("chairs", [one, two]) == "chairs, 2 pairs of 4x6"
    assert described("chairs", [one, two, other]) == "chairs, 3 pairs of 8x2 to 4x6"
