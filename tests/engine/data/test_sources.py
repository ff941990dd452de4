"""Names of sources, the selection of pairs, and the Motorcycle pair against its own images."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.pair import PairsError
from engine.data.sources import find_source, motorcycle, parse_source, spread
from tests.support.pictures import write_pair


def test_motorcycle_moves_left():
    pair = motorcycle()
    height, width = pair.valid.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def photometric_error(sign):
        u = np.nan_to_num(pair.flow[..., 0])
        warped = cv2.remap(pair.image2, x + sign * u, y, cv2.INTER_LINEAR)
        return np.abs(warped.astype(int) - pair.image1)[pair.valid].mean()

    # Warped by the true flow, the second image is the first; any other way it is not.
    assert photometric_error(1) < 12
    assert photometric_error(0) > 30
    assert photometric_error(-1) > 30
    assert (np.isfinite(pair.flow).all(axis=-1) == pair.valid).all()
    assert 0.8 < pair.valid.mean() < 1


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_selection_is_spread_evenly(count: int, limit: int) -> None:
    chosen = spread(range(count), limit)
    assert len(chosen) == min(count, limit)
    assert chosen[0] == 0
    # The last distance is that to the end, as if the set began again there.
    gaps = {two - one for one, two in itertools.pairwise([*chosen, count])}
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_a_selection_of_nothing_is_empty() -> None:
    assert spread([], 3) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a", ("chairs", Path("a"), None)),
        ("chairs:a", ("chairs", Path("a"), None)),
        ("chairs:a:b", ("chairs", Path("a:b"), None)),
        ("a:b", ("chairs", Path("a:b"), None)),
        ("C:/a", ("chairs", Path("C:/a"), None)),
        ("sintel:/a", ("sintel", Path("/a"), None)),
        ("sintel/final:/a", ("sintel", Path("/a"), "final")),
    ],
)
def test_a_source_s_parts(source: str, expected: tuple[str, Path, str | None]) -> None:
    parsed = parse_source(source)
    assert parsed == expected
    assert parse_source(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sintel/fnal:a", r"sintel has no pass 'fnal'; expected one of clean, final, albedo\. Did"),
        ("hd1k/clean:a", "hd1k has no pass 'clean'; expected none, as there is one pass alone"),
        ("sintle:a", "sintle:a: there is no data set 'sintle'; expected .*mean 'sintel'"),
        ("kitti:a", "there is no data set 'kitti'; expected .*mean 'kitti201"),
    ],
)
def test_misspelt_names(source: str, message: str) -> None:
    with pytest.raises(PairsError, match=message):
        parse_source(source)


def test_a_folder_that_is_nearly_named_like_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sintle:a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_source("sintle:a") == ("chairs", Path("sintle:a"), None)


@pytest.mark.parametrize("source", ["", "chairs:"])
def test_a_source_names_a_folder(source: str) -> None:
    with pytest.raises(PairsError, match=f"'{source}' names no folder; expected DIR or chairs:DIR"):
        parse_source(source)


def test_both_names_find_the_same_pairs(tmp_path: Path) -> None:
    write_pair(tmp_path, "00001")
    assert find_source(f"chairs:{tmp_path}") == find_source(str(tmp_path))
    assert [pair.name for pair in find_source(str(tmp_path))] == ["00001"]
