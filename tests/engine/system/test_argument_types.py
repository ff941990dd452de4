"""What each type of argument accepts, and the text that refuses the rest."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.system import argument_types as types


@given(st.integers(1, 99999), st.integers(1, 99999))
def test_sizes(height: int, width: int) -> None:
    assert types.size(f"{height}x{width}") == (height, width)


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (types.size_or_side, "512", (512, 512)),
        (types.size_or_side, "512x768", (512, 768)),
        (types.positive_int, "1", 1),
        (types.positive_int, "12000", 12000),
        (types.int_between(0, 9), "0", 0),
        (types.int_between(0, 9), "9", 9),
        (types.positive_float, "1e-3", 1e-3),
        (types.non_negative_float, "0", 0),
        (types.fraction, "0.998", 0.998),
        (types.percentage, "0.5%", 0.005),
        (types.percentage, "12%", 0.12),
        (types.power_of_two(2**-12, 16), "1/64", 1 / 64),
        (types.power_of_two(2**-12, 16), "0.015625", 1 / 64),
        (types.power_of_two(2**-12, 16), "1/4096", 2**-12),
        (types.power_of_two(2**-12, 16), "16", 16),
        (types.names, "b, a,b", ["b", "a"]),
        (types.names_among(("a", "b"), "letter"), "b,a", ["b", "a"]),
    ],
)
def test_accepted(convert: Callable[[str], Any], text: str, value: object) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "texts", "message"),
    [
        (
            types.size,
            ["", "384", "0x5", "5x0", "384X512", "-1x5", "384x512x3", "1e2x5", "100000x1", "²x5"],
            "is not a size; expected HxW in pixels, for example 384x512",
        ),
        (
            types.size_or_side,
            ["", "0", "-512", "512x", "x512", "512x0", "512.0", "100000", "²"],
            "is not a size; expected HxW or a side in pixels, e.g. 512x768 or 512",
        ),
        (
            types.positive_int,
            ["", "0", "-1", "1.0", "x", "9" * 20, "1_000", "²"],
            "is not a count; expected a whole number of at least 1",
        ),
        (
            types.int_between(1, 2000),
            ["0", "2001", "-1", "9" * 30, "1.5"],
            "is out of range; expected a whole number from 1 to 2,000",
        ),
        (
            types.positive_float,
            ["0", "-1", "nan", "inf", "x", ""],
            "is out of range; expected a number larger than 0",
        ),
        (
            types.non_negative_float,
            ["-0.1", "nan", "inf", "x"],
            "is out of range; expected a number of at least 0",
        ),
        (
            types.fraction,
            ["1", "-0.1", "nan"],
            "is out of range; expected a number of at least 0 and less than 1",
        ),
        (
            types.percentage,
            ["1", "0.01", "-1%", "1e1%", "%", ""],
            "is not a percentage; expected e.g. 1% or 0.5%",
        ),
        (
            types.power_of_two(2**-12, 16),
            ["", "1/0", "1/3", "0.1", "32", "1/8192", "-1", "1/-2", "a", "nan", "1e-2"],
            "is not a power of two from 1/4096 to 16; expected e.g. 1/64",
        ),
        (types.names, ["", "a,", ",a", "a,,b"], "has an empty name; expected a list like a,b"),
    ],
)
def test_refused(convert: Callable[[str], Any], texts: list[str], message: str) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            convert(text)
        assert str(caught.value) == f"{text!r} {message}"


def test_the_nearest_name_is_given() -> None:
    convert = types.names_among(("fp32", "fp16"), "precision")
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert("fp32,fp61")
    expected = "unknown precision 'fp61'; expected fp32, fp16. Did you mean 'fp16'?"
    assert str(caught.value) == expected
