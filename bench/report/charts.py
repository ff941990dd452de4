"""Geometry of the report's charts, error over latency and strips of latencies, for charts.svg.j2.

Colours are the CSS variables ``--s0`` to ``--s7``. Every series also has a marker of its own, so
that colour alone carries no information.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from bench.report.table import Row, three_digits

Place = tuple[float, float]
_CHARACTER = 6.9  # px, mean width of a character of a 12 px system font
_LINE = 15.0
_TICK_STEPS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0),
)
_CLASSES = ("mark", "mark hollow", "mark hollow dashed")
_STRIP_TICK_GAP = 0.09  # share of a strip's width: 40 px on a phone
_SHAPES = (
    "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "M-4.6,-4.6h9.2v9.2h-9.2z",
    "M0,-6L5.6,4.4H-5.6z",
    "M0,-6.4L6.4,0L0,6.4L-6.4,0z",
    "M0,6L5.6,-4.4H-5.6z",
    "M-1.8,-6h3.6v4.2h4.2v3.6h-4.2v4.2h-3.6v-4.2h-4.2v-3.6h4.2z",
    "M0,-6.4L6.1,-2L3.8,5.2H-3.8L-6.1,-2z",
    "M-5.6,-3.2L0,-6.4L5.6,-3.2V3.2L0,6.4L-5.6,3.2z",
)


@dataclass(frozen=True)
class Point:
    """A row in the scatter plot: latency in ms, error in px, and the index of its series."""

    x: float
    y: float
    label: str
    series: int
    note: str


class Box(NamedTuple):
    """A rectangle in SVG pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def contains(self, other: "Box") -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


@dataclass(frozen=True)
class LogScale:
    """Logarithmic map of latencies to 0..1."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], margin: float) -> "LogScale":
        return cls(min(values) / margin, max(values) * margin)

    def __call__(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, gap: float) -> list[float]:
        """Return as many round values as fit at distances of at least ``gap`` (0..1)."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        best: list[float] = []
        for steps in _TICK_STEPS:
            values = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in values if self.low <= value <= self.high]
            if all(self(after) - self(before) >= gap for before, after in pairwise(inside)):
                best = inside
        return best


@dataclass(frozen=True)
class Marker:
    """Attributes of a series' marker: its CSS class, colour and SVG path."""

    css_class: str
    colour: str
    shape: str


class Tick(NamedTuple):
    position: float
    text: str


@dataclass(frozen=True)
class Label:
    """A label centred at (x, y). ``join`` joins its points, ``leader`` connects it to its point."""

    text: str
    x: float
    y: float
    join: str
    leader: str


@dataclass(frozen=True)
class Scatter:
    """The layout of a scatter plot, in SVG pixels; paths are SVG path data."""

    width: int
    height: int
    plot: Box
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    frontier: str
    labels: list[Label]
    marks: list[tuple[Point, float, float]]


@dataclass(frozen=True)
class Strip:
    """The latencies of one row; positions are percentages of the strip's width."""

    text: str
    colour: str
    p50: float
    p90: float
    p99: float
    raw: list[float]


def marker(series: int) -> Marker:
    """Return a series' marker; after the eighth they repeat hollow, then dashed."""
    repeat, index = divmod(series, len(_SHAPES))
    return Marker(_CLASSES[repeat % len(_CLASSES)], colour(series), _SHAPES[index])


def colour(series: int) -> str:
    return f"var(--s{series % len(_SHAPES)})"


def linear_ticks(low: float, high: float) -> list[float]:
    """Return about five round values that enclose the range."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * index for index in range(first, last + 1)]


def scatter(points: Sequence[Point], width: int, height: int) -> Scatter:
    """Return the layout of the latency-error plot; down and to the left is better."""
    plot = Box(46, 10, width - 14, height - 44)
    scale = LogScale.around([point.x for point in points], 1.4)
    lowest, highest = min(point.y for point in points), max(point.y for point in points)
    margin = max(0.12 * (highest - lowest), 0.02 * highest, 1e-3)
    values = linear_ticks(max(0.0, lowest - margin), highest + margin)

    def x_at(value: float) -> float:
        return plot.left + scale(value) * (plot.right - plot.left)

    def y_at(value: float) -> float:
        share = (value - values[0]) / (values[-1] - values[0])
        return plot.bottom - share * (plot.bottom - plot.top)

    places = [(x_at(point.x), y_at(point.y)) for point in points]
    return Scatter(
        width=width,
        height=height,
        plot=plot,
        x_ticks=[Tick(x_at(value), f"{value:g}") for value in scale.ticks(40 / width)],
        y_ticks=[Tick(y_at(value), f"{value:.4g}") for value in values],
        frontier=_path(_frontier(places)),
        labels=list(_labels(points, places, plot)),
        marks=[(point, x, y) for point, (x, y) in zip(points, places, strict=True)],
    )


def strip_ticks(scale: LogScale) -> list[Tick]:
    """Return the axis of the strips, in percent of their width."""
    return [Tick(100 * scale(value), f"{value:g}") for value in scale.ticks(_STRIP_TICK_GAP)]


def strip(row: Row, scale: LogScale, series: int) -> Strip:
    """Return the layout of one row's latencies: every measurement, then p50, p90 and p99."""
    figures = [row["latency_ms"][key] for key in ("p50", "p90", "p99")]
    raw = sorted(row.get("raw_latency_ms") or [])
    raw = raw[:: len(raw) // 200 + 1]  # more ticks than that merge into a bar
    p50, p90, p99 = (100 * scale(value) for value in figures)
    text = " / ".join(map(three_digits, figures))
    return Strip(text, colour(series), p50, p90, p99, [100 * scale(value) for value in raw])


def _frontier(places: Sequence[Place]) -> list[Place]:
    """Return the points that no other point beats on both axes."""
    best: list[Place] = []
    for x, y in sorted(places, key=lambda place: (place[0], -place[1])):
        if not best or y > best[-1][1]:  # SVG's y grows downwards: more is less error
            best.append((x, y))
    return best


def _path(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _labels(points: Sequence[Point], places: Sequence[Place], plot: Box) -> Iterator[Label]:
    """Yield each label once, where it covers no point and no other label."""
    taken = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    joined: dict[str, list[Place]] = {}
    for point, place in sorted(zip(points, places, strict=True), key=lambda pair: pair[1]):
        joined.setdefault(point.label, []).append(place)
    for text, ends in joined.items():
        spots = sorted(
            (rank, end, box)
            for end in ends
            for rank, box in enumerate(_spots(*end, len(text) * _CHARACTER))
            if rank > 1 or len(ends) == 1  # beside a joined point it would cover the line
        )
        inside = [spot for spot in spots if plot.contains(spot[2])] or spots
        free = (spot for spot in inside if not any(spot[2].overlaps(other) for other in taken))
        _, (x, y), box = next(free, inside[0])
        taken.append(box)
        middle = (box.top + box.bottom) / 2
        near = min(max(x, box.left), box.right)
        leader = _path([(x, y), (near, middle)]) if abs(middle - y) > _LINE + 5 else ""
        yield Label(text, (box.left + box.right) / 2, middle + 4, _path(ends), leader)


def _spots(x: float, y: float, width: float) -> Iterator[Box]:
    """Yield candidate boxes of a label: beside its point, then further above and below."""
    places = [(x + 10, y), (x - 10 - width, y)]
    for step in range(1, 12):
        for middle in (y - step * _LINE, y + step * _LINE):
            places += [(left, middle) for left in (x - width / 2, x - 6, x + 6 - width)]
    for left, middle in places:
        yield Box(left, middle - _LINE / 2, left + width, middle + _LINE / 2)
