"""Numbered frames, in random sequences."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.listing import following, next_frames
from engine.data.pair import PairsError

prefixes = st.sampled_from(["", "frame_", "frame_left_", "000012_", "v2.1-"])


@given(prefixes, st.integers(0, 10**6), st.integers(1, 7))
def test_the_next_name_counts_on(prefix: str, number: int, digits: int) -> None:
    name = f"{prefix or 'x'}{number:0{digits}}"
    assert following(name) == f"{prefix or 'x'}{number + 1:0{digits}}"


@given(prefixes, st.integers(0, 2000), st.integers(2, 12), st.data())
def test_frames_that_follow_each_other(
    prefix: str, first: int, count: int, data: st.DataObject
) -> None:
    """All are paired with the next; one that is missing in between is named."""
    names = [f"{prefix}{number:04}" for number in range(first, first + count)]
    frames = {name: Path(f"{name}.png") for name in names}
    assert [(one.stem, two.stem) for _, one, two in next_frames(frames)] == list(
        itertools.pairwise(names)
    )
    if count > 2:
        lost = data.draw(st.sampled_from(names[1:-1]))
        del frames[lost]
        with pytest.raises(PairsError, match=f"has no {lost}\\.\\* beside it, the second image"):
            list(next_frames(frames))
