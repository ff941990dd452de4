"""Types of command line arguments, for ``type=`` of argparse."""

import argparse
import math
import re
from collections.abc import Callable, Collection
from fractions import Fraction
from typing import Literal

from engine.errors import nearest


def size(text: str) -> tuple[int, int]:
    """``HxW`` in pixels, at most five digits each."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected HxW in pixels, for example 384x512"
        )
    return int(match[1]), int(match[2])


def size_or_side(text: str) -> tuple[int, int]:
    """``HxW``, or ``N`` for a square, in pixels, at most five digits each."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}(x[1-9][0-9]{0,4})?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected HxW or a side in pixels, e.g. 512x768 or 512"
        )
    return size(text) if "x" in text else size(f"{text}x{text}")


def positive_int(text: str) -> int:
    """A whole number of at least 1, of at most nine digits."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a count; expected a whole number of at least 1"
        )
    return int(text)


def int_between(low: int, high: int) -> Callable[[str], int]:
    """A whole number in a range; both ends belong to it."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} is out of range; expected a whole number from {low} to {high:,}"
            )
        return int(text)

    return convert


def positive_float(text: str) -> float:
    """A finite number larger than 0."""
    return _number(text, lambda value: 0 < value < math.inf, "a number larger than 0")


def non_negative_float(text: str) -> float:
    """A finite number of at least 0."""
    return _number(text, lambda value: 0 <= value < math.inf, "a number of at least 0")


def fraction(text: str) -> float:
    """A number of at least 0 and less than 1."""
    return _number(text, lambda value: 0 <= value < 1, "a number of at least 0 and less than 1")


def percentage(text: str) -> float:
    """``1%`` or ``0.5%``, as a fraction of 1."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)%", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage; expected e.g. 1% or 0.5%")
    return float(match[1]) / 100


def levels(text: str) -> tuple[float, float] | Literal["percentile"]:
    """``LOW:HIGH``, two rising numbers, or ``percentile``."""
    if text == "percentile":
        return "percentile"
    ends = [*map(_finite, text.split(":"))]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] >= ends[1]:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} are no levels; expected LOW:HIGH, e.g. 0:4095, or percentile"
        )
    return ends[0], ends[1]


def _finite(text: str) -> float | None:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]{0,12})?([eE][+-]?[0-9]{1,2})?", text):
        return None
    return float(text)


def power_of_two(low: float, high: float) -> Callable[[str], float]:
    """A power of two in a range whose ends are such, as ``1/64``, ``0.015625`` or ``2``."""

    def convert(text: str) -> float:
        number = re.fullmatch(r"1/[1-9][0-9]{0,5}|[0-9]{1,6}(\.[0-9]{1,20})?", text)
        value = float(Fraction(text)) if number else 0.0
        if not low <= value <= high or math.frexp(value)[0] != 0.5:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a power of two from {Fraction(low)} to {Fraction(high)}; "
                "expected e.g. 1/64"
            )
        return value

    return convert


def names(text: str) -> list[str]:
    """Names separated by commas, each once."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name; expected a list like a,b")
    return list(dict.fromkeys(found))


def name_among(known: Collection[str], kind: str) -> Callable[[str], str]:
    """One of the names in ``known``; error messages call them ``kind``."""

    def convert(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(
                f"unknown {kind} {text!r}; expected {', '.join(known)}.{nearest(text, known)}"
            )
        return text

    return convert


def names_among(known: Collection[str], kind: str) -> Callable[[str], list[str]]:
    """``names`` of which each is in ``known``; error messages call them ``kind``."""
    one = name_among(known, kind)
    return lambda text: [one(name) for name in names(text)]


def _number(text: str, accepts: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not accepts(value):  # false for NaN
        raise argparse.ArgumentTypeError(f"{text!r} is out of range; expected {expected}")
    return value
