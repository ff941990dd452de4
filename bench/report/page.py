"""The comparison as one self-contained HTML file, rendered from ``page.html.j2``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report.charts import (
    LogScale,
    Point,
    Scatter,
    Strip,
    Tick,
    marker,
    scatter,
    strip,
    strip_ticks,
)
from bench.report.pictures import Picture
from bench.report.table import (
    COLUMNS,
    Row,
    RowGroup,
    backends,
    column,
    grouped,
    heading,
    is_latency,
    label,
    latency,
    number,
    unit,
)
from bench.report.template import machine, write_page

_FILTERS: dict[str, Callable[..., Any]] = {
    "heading": heading,
    "label": label,
    "marker": marker,
    "percent": "{:.2f}%".format,
    "px": "{:.1f}".format,
    "unit": unit,
}


@dataclass
class Section:
    """One size and batch. ``wide`` and ``narrow`` show the same plot; None without an EPE."""

    group: RowGroup
    legend: list[tuple[int, str]] = field(default_factory=list)
    wide: Scatter | None = None
    narrow: Scatter | None = None
    strips: list[tuple[Row, Strip]] = field(default_factory=list)
    strip_ticks: list[Tick] = field(default_factory=list)


def write_report(result: Mapping[str, Any], pictures: Sequence[Picture], path: Path) -> None:
    """Write the report of one ``bench.compare`` result to ``path``, atomically."""
    names = backends(row for row in result["rows"] if row["status"] == "ok")
    write_page(
        path,
        "page.html.j2",
        filters=_FILTERS,
        title="Optical flow: latency and accuracy",
        machine=machine(result["environment"]),
        result={"summary": None, "startup": None, **result},
        columns=COLUMNS,
        sections=[_section(group, names) for group in grouped(result["rows"])],
        pictures=pictures,
    )


def _section(group: RowGroup, names: Sequence[str]) -> Section:
    section = Section(group)
    measured = [row for row in group.measured if latency(row) is not None]
    single = [row for row in measured if is_latency(row) and number(row["epe"]) is not None]
    if single:
        points = [_point(row, names) for row in single]
        used = {point.series for point in points}
        section.legend = [(series, names[series]) for series in sorted(used)]
        section.wide = scatter(points, width=1080, height=440)
        section.narrow = scatter(points, width=430, height=460)
    if measured:
        values = [row["latency_ms"][key] for row in measured for key in ("p50", "p99")]
        values += [value for row in measured for value in row["raw_latency_ms"]]
        scale = LogScale.around(values, 1.15)
        section.strip_ticks = strip_ticks(scale)
        section.strips = [(row, strip(row, scale, names.index(row["backend"]))) for row in measured]
    return section


def _point(row: Row, names: Sequence[str]) -> Point:
    figures = (f"{each.show(row)} {each.unit}" for each in map(column, ("p50", "EPE")))
    note = f"{label(row)} on {row['backend']}: {', '.join(figures)}"
    x, y = latency(row) or 0.0, number(row["epe"]) or 0.0
    return Point(x, y, label(row), names.index(row["backend"]), note)
