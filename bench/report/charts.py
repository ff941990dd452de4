"""The report's two pictures as inline SVG: error over latency, and how latencies spread.

Colours are the CSS variables ``--s0`` to ``--s7`` and never stand alone: every series has its own
marker too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import NamedTuple

from bench.report.table import Row, three_digits

SERIES_COUNT = 8
Place = tuple[float, float]
_CHARACTER = 6.9  # px, mean width of a 12 px system font
_LINE = 15.0
_TICK_STEPS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0),
)
_LOOKS = ("mark", "mark hollow", "mark hollow dashed")
_STRIP_GAP = 0.09  # of a strip's width, which the browser decides: 40 px on a telephone
_MARKERS = (
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
    """A row in the scatter plot: latency in ms, error in px, and which series it belongs to."""

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

    def holds(self, other: "Box") -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


@dataclass(frozen=True)
class LogScale:
    """Latencies to 0..1, logarithmic."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], margin: float) -> "LogScale":
        return cls(min(values) / margin, max(values) * margin)

    def __call__(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, gap: float) -> list[float]:
        """Return as many round values as fit when neighbours are at least ``gap`` (0..1) apart."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        best: list[float] = []
        for steps in _TICK_STEPS:
            values = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in values if self.low <= value <= self.high]
            if all(self(after) - self(before) >= gap for before, after in pairwise(inside)):
                best = inside
        return best


def linear_ticks(low: float, high: float) -> list[float]:
    """Return about five round values that enclose ``low`` to ``high``."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * index for index in range(first, last + 1)]


def marker(series: int, x: float, y: float) -> str:
    """Return a series' marker; those after the eighth repeat the first ones hollow, then dashed."""
    turn, index = divmod(series, SERIES_COUNT)
    look = _LOOKS[turn % len(_LOOKS)]
    return (
        f'<path class="{look}" style="--c:var(--s{index})" '
        f'transform="translate({x:.1f},{y:.1f})" d="{_MARKERS[index]}"/>'
    )


def scatter(points: Sequence[Point], *, width: int, height: int) -> str:
    """Return the latency-accuracy plot; down and to the left is better."""
    plot = Box(46, 10, width - 14, height - 44)
    x_scale = LogScale.around([point.x for point in points], 1.4)
    lowest, highest = min(point.y for point in points), max(point.y for point in points)
    room = max(0.12 * (highest - lowest), 0.02 * highest, 1e-3)
    y_ticks = linear_ticks(max(0.0, lowest - room), highest + room)

    def x_at(value: float) -> float:
        return plot.left + x_scale(value) * (plot.right - plot.left)

    def y_at(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return plot.bottom - share * (plot.bottom - plot.top)

    places = [(x_at(point.x), y_at(point.y)) for point in points]
    parts = [*_axes(plot, [(x_at(value), value) for value in x_scale.ticks(40 / width)],
                    [(y_at(value), value) for value in y_ticks])]  # fmt: skip
    parts.append(_frontier(places))
    parts += _labels(points, places, plot)
    for point, (x, y) in zip(points, places, strict=True):
        parts.append(f"<g><title>{escape(point.note)}</title>{marker(point.series, x, y)}</g>")
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="End-point error over median latency">{"".join(parts)}</svg>'
    )


def _axes(
    plot: Box, x_ticks: Sequence[tuple[float, float]], y_ticks: Sequence[tuple[float, float]]
) -> Iterator[str]:
    for x, value in x_ticks:
        yield f'<path class="grid" d="M{x:.1f},{plot.top}V{plot.bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{plot.bottom + 17}">{value:g}</text>'
    for y, value in y_ticks:
        yield f'<path class="grid" d="M{plot.left},{y:.1f}H{plot.right}"/>'
        yield f'<text class="tick end" x="{plot.left - 7}" y="{y + 4:.1f}">{value:.4g}</text>'
    middle = (plot.left + plot.right) / 2
    yield f'<text class="axis" x="{middle}" y="{plot.bottom + 36}">median latency, ms (log)</text>'
    yield (
        f'<text class="axis" transform="translate(11,{(plot.top + plot.bottom) / 2}) rotate(-90)">'
        "EPE, px</text>"
    )


def _frontier(places: Sequence[Place]) -> str:
    """Return the line through the points that no other point beats on both axes."""
    best: list[Place] = []
    for x, y in sorted(places, key=lambda place: (place[0], -place[1])):
        if not best or y > best[-1][1]:  # SVG's y grows downwards: more is less error
            best.append((x, y))
    return f'<path class="frontier" d="M{_path(best)}"/>'


def _path(places: Sequence[Place]) -> str:
    return "L".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _labels(points: Sequence[Point], places: Sequence[Place], plot: Box) -> Iterator[str]:
    """Join points of one label by a line and write it once, where it covers nothing else."""
    taken = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    joined: dict[str, list[Place]] = {}
    for point, place in sorted(zip(points, places, strict=True), key=lambda pair: pair[1]):
        joined.setdefault(point.label, []).append(place)
    for text, ends in joined.items():
        yield f'<path class="same" d="M{_path(ends)}"/>'
        spots = sorted(
            (rank, end, box)
            for end in ends
            for rank, box in enumerate(_spots(*end, len(text) * _CHARACTER))
            if rank > 1 or len(ends) == 1  # beside its point it would stand on the line
        )
        inside = [spot for spot in spots if plot.holds(spot[2])] or spots
        free = (spot for spot in inside if not any(spot[2].overlaps(other) for other in taken))
        _, (x, y), box = next(free, inside[0])
        taken.append(box)
        yield _label(text, x, y, box)


def _label(text: str, x: float, y: float, box: Box) -> str:
    middle = (box.top + box.bottom) / 2
    near = min(max(x, box.left), box.right)
    leader = f'<path class="leader" d="M{x:.1f},{y:.1f}L{near:.1f},{middle:.1f}"/>'
    return (
        f"{leader if abs(middle - y) > _LINE + 5 else ''}"
        f'<text class="label" x="{(box.left + box.right) / 2:.1f}" y="{middle + 4:.1f}">'
        f"{escape(text)}</text>"
    )


def _spots(x: float, y: float, width: float) -> Iterator[Box]:
    """Yield where a label may stand: beside its point, then further and further above and below."""
    places = [(x + 10, y), (x - 10 - width, y)]
    for step in range(1, 12):
        for middle in (y - step * _LINE, y + step * _LINE):
            places += [(left, middle) for left in (x - width / 2, x - 6, x + 6 - width)]
    for left, middle in places:
        yield Box(left, middle - _LINE / 2, left + width, middle + _LINE / 2)


def strip_axis(scale: LogScale) -> str:
    """Return the axis under the strips, at any width: positions are percentages."""
    ticks = "".join(
        f'<text class="tick" x="{100 * scale(value):.2f}%" y="14">{value:g}</text>'
        for value in scale.ticks(_STRIP_GAP)
    )
    return f'<svg class="strip" height="20" aria-hidden="true">{ticks}</svg>'


def strip(row: Row, scale: LogScale, series: int) -> str:
    """Return one row's latencies: every measurement, then p50, p90 and p99."""
    figures = row["latency_ms"]
    p50, p90, p99 = (100 * scale(figures[key]) for key in ("p50", "p90", "p99"))
    raw = sorted(row.get("raw_latency_ms") or [])
    raw = raw[:: len(raw) // 200 + 1]  # more ticks than that are one bar
    grid = "".join(
        f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="26"/>'
        for x in (100 * scale(value) for value in scale.ticks(_STRIP_GAP))
    )
    ticks = "".join(
        f'<line class="raw" x1="{x:.2f}%" x2="{x:.2f}%" y1="7" y2="19"/>'
        for x in (100 * scale(value) for value in raw)
    )
    text = " / ".join(three_digits(figures[key]) for key in ("p50", "p90", "p99"))
    return (
        f'<svg class="strip" height="26" role="img" aria-label="p50 / p90 / p99: {text} ms" '
        f'style="--c:var(--s{series % SERIES_COUNT})">{grid}{ticks}'
        f'<line class="span" x1="{p50:.2f}%" x2="{p99:.2f}%" y1="13" y2="13"/>'
        f'<line class="p90" x1="{p90:.2f}%" x2="{p90:.2f}%" y1="7" y2="19"/>'
        f'<line class="p99" x1="{p99:.2f}%" x2="{p99:.2f}%" y1="4" y2="22"/>'
        f'<circle class="mark" cx="{p50:.2f}%" cy="13" r="5"/></svg>'
    )
