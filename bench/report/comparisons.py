"""Comparisons of rows of one run: ratios of speed and error, overhead, distance to PyTorch."""

import statistics
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from bench.runners.registry import BY_NAME

Json = dict[str, Any]
# The presets of DIS that errors are compared with, and their names in tables.
BASELINES = {"dis_medium": "DIS medium", "dis_fast": "DIS fast"}


def times_as_fast(row: Json, other: Json) -> float:
    """Return how many times as fast ``row`` is as ``other``, with which it was interleaved.

    The median, over the rounds, of the ratio of the medians in each round, for the reason that
    `bench.harness.interleave` gives.
    """
    rounds = zip(round_medians(row), round_medians(other), strict=True)
    return statistics.median(theirs / ours for ours, theirs in rounds)


def fastest(rows: Iterable[Json]) -> list[Json]:
    """Return the engine's fastest CPU row of each network and precision, at its first size."""
    found: dict[tuple[str, str], Json] = {}
    for row in rows:
        if BY_NAME[row["backend"]].kind != "engine" or row["device"] != "cpu":
            continue
        best = found.setdefault((row["network"], row["precision"]), row)
        if same_work(row, best) and p50(row) < p50(best):
            found[row["network"], row["precision"]] = row
    return list(found.values())


def overheads(rows: Iterable[Json]) -> dict[str, float]:
    """Return the engine's extra time relative to each bare session, at the first size."""
    rows = list(rows)
    found: dict[str, float] = {}
    for bare in rows:
        name = bare["backend"].removesuffix(" (bare)")
        if BY_NAME[bare["backend"]].kind != "bare" or name in found:
            continue
        for row in rows:
            if row["backend"] == name and same_work(row, bare) and same(row, bare, "precision"):
                found[name] = times_as_fast(bare, row) - 1
    return found


def agreement(rows: Iterable[Json]) -> dict[str, float]:
    """Return the engine's largest mean distance to fp32 PyTorch by precision, in pixels."""
    found: dict[str, float] = {}
    for row in rows:
        is_engine = BY_NAME[row["backend"]].kind in ("engine", "stream", "many")
        if is_engine and row["epe_vs_reference"] is not None:
            precision = row["precision"]
            found[precision] = max(found.get(precision, 0.0), row["epe_vs_reference"])
    return found


def relative_errors(row: Json, rows: Iterable[Json]) -> dict[str, Json]:
    """Return a row's error relative to that of OpenCV's DIS at the same size.

    Over the pairs where both have an error above 0.

    Returns:
        By the name of the DIS preset in `BASELINES`: ``ratio``, the geometric mean of the ratios of
        the pairs' end-point errors; ``won``, the number of pairs with a smaller error; ``pairs``,
        the number of pairs.
    """
    at_this_size = [other for other in rows if same(row, other, "height", "width")]
    found = {}
    for name in BASELINES:
        for other in (each for each in at_this_size if each["network"] == name and each is not row):
            both = zip(row["epe_by_pair"] or (), other["epe_by_pair"] or (), strict=False)
            ratios = [ours / theirs for ours, theirs in both if ours and theirs]
            if ratios:
                found[name] = {
                    "ratio": statistics.geometric_mean(ratios),
                    "won": sum(ratio < 1 for ratio in ratios),
                    "pairs": len(ratios),
                }
    return found


def size_of(row: Mapping[str, Any]) -> str:
    """Return the size of a row's pairs, for example ``384x512``."""
    return "native sizes" if row["height"] is None else f"{row['height']}x{row['width']}"


def same_work(row: Json, other: Json) -> bool:
    return same(row, other, "network", "height", "width", "batch", "device")


def same(row: Json, other: Json, *keys: str) -> bool:
    return all(row[key] == other[key] for key in keys)


def p50(row: Json) -> float:
    return float(row["latency_ms"]["p50"])


def round_medians(row: Json) -> list[float]:
    """Return the median latency of each round in ms."""
    samples = iter(row["raw_latency_ms"])
    return [statistics.median(islice(samples, count)) for count in row["round_lengths"]]
