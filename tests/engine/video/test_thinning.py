"""Which frames are used."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError
from engine.video.thinning import Thinning


def kept(times, **options):
    thinning = Thinning(**options)
    return [time for time in times if thinning.keeps(time)]


def test_every_third_frame():
    times = [Fraction(index, 25) for index in range(8)]
    assert kept(times, stride=3) == [0, Fraction(3, 25), Fraction(6, 25)]


def test_the_rate_is_measured_from_the_first_frame():
    times = [7 + Fraction(index, 30) for index in range(60)]
    found = kept(times, fps=10)
    assert found == [7 + Fraction(index, 10) for index in range(20)]
    assert kept(times, fps=10, stride=2) == found[::2]
    assert Thinning(fps=10, stride=2).rate(Fraction(30)) == 5


@given(st.integers(1, 240), st.integers(1, 240))
def test_a_rate_is_reached_but_not_exceeded(source, wanted):
    found = kept([Fraction(index, source) for index in range(2 * source)], fps=wanted)
    assert len(found) in (2 * min(source, wanted), 2 * min(source, wanted) + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride is 0; expected at least 1, which keeps every frame"),
        ({"fps": 0.0}, "fps is 0.0; expected a positive number of frames per second"),
        ({"fps": float("nan")}, "fps is nan; expected a positive"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        Thinning(**options)
