"""Sequences, with a clock that the test turns."""

import numpy as np
import pytest

from engine.serving.errors import RequestError
from engine.serving.request import Sequence
from engine.serving.sequences import Sequences


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def frame(level, width=2):
    return np.full((1, 1, width, 3), level, np.uint8)


def follow(sequences, name, level, *, start=False, end=False, width=2):
    before = sequences.follow(Sequence(name, start, end), frame(level, width))
    return None if before is None else int(before[0, 0, 0, 0])


def test_each_frame_follows_the_last_of_its_sequence():
    sequences = Sequences(2, 60)
    assert follow(sequences, "a", 1, start=True) is None
    assert follow(sequences, 1, 11, start=True) is None
    assert follow(sequences, "a", 2) == 1
    assert follow(sequences, 1, 12) == 11
    assert follow(sequences, "a", 3, end=True) == 2
    assert follow(sequences, 1, 13) == 12
    assert len(sequences) == 1
    assert follow(sequences, 1, 20, start=True) is None
    assert follow(sequences, 1, 21) == 20


def test_sequences_expire():
    clock = Clock()
    sequences = Sequences(9, 10, clock)
    for name in "ab":
        follow(sequences, name, 1, start=True)
    clock.now = 6
    follow(sequences, "a", 2)
    clock.now = 12
    assert len(sequences) == 1
    assert follow(sequences, "a", 3) == 2
    with pytest.raises(
        RequestError, match=r"sequence 'b' is not open: .* no frame for 10 s"
    ) as error:
        follow(sequences, "b", 2)
    assert error.value.status == 400


def test_no_more_than_may_be():
    clock = Clock()
    sequences = Sequences(2, 10, clock)
    for name in "ab":
        follow(sequences, name, 1, start=True)
    with pytest.raises(RequestError, match="2 sequences are open, the most at a time") as error:
        follow(sequences, "c", 1, start=True)
    assert error.value.status == 503
    assert follow(sequences, "a", 2, end=True) == 1
    assert follow(sequences, "c", 1, start=True) is None
    clock.now = 11
    assert follow(sequences, "d", 1, start=True) is None


def test_another_size_changes_nothing():
    sequences = Sequences(2, 60)
    follow(sequences, "a", 1, start=True)
    with pytest.raises(RequestError, match="have the sizes 1x2 and 1x3; expected the same"):
        follow(sequences, "a", 2, width=3)
    assert follow(sequences, "a", 3) == 1


def test_a_sequence_of_one_frame():
    sequences = Sequences(2, 60)
    assert follow(sequences, "a", 1, start=True, end=True) is None
    assert len(sequences) == 0
