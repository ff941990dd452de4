"""The comparison as one HTML file that asks nothing of the network, and as a terminal table.

Both read the JSON object of ``bench.compare``: schema, environment, data, rows.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.report.charts import LogScale, Point, marker, scatter, strip, strip_axis
from bench.report.style import CSS
from bench.report.table import (
    COLUMNS,
    Column,
    Row,
    RowGroup,
    backends,
    flattened,
    grouped,
    is_latency,
    label,
    latency,
    number,
)
from engine.system.files import write_atomically

_TERMINAL_TITLES = ("p50", "p99", "device", "fps", "EPE", "Fl-all", "vs fp32")
_PERCENTILES = ("p50", "p90", "p99")
_METHOD = (
    "Every row runs in its own process, after a warm-up. Rows take turns in rounds, so that a "
    "noisy machine treats them alike.",
    "Latency is end to end: two uint8 images on the host in, one float32 flow on the host out. "
    "p50, p90 and p99 are percentiles over all measurements of a row; how many times as fast one "
    "is as another is the median over the rounds, as the machine's speed may change.",
    "Device time is the same pair again with its data already on the device.",
    "EPE is the mean distance in pixels to the true flow; Fl-all the share of pixels that are "
    "wrong by more than 3 px and more than 5 %. Networks with random weights have none.",
    "“vs fp32” is the mean distance in pixels to PyTorch's fp32 flow from the same weights.",
    "A row that cannot run on this machine stays in the table with its reason.",
)


@dataclass(frozen=True)
class Picture:
    """A PNG for the report; ``title`` is its alternative text too."""

    title: str
    caption: str
    png: bytes


def write_report(result: Mapping[str, Any], pictures: Sequence[Picture], path: Path) -> None:
    """Write the report of one ``bench.compare`` result to ``path``, whole or not at all."""
    environment = result["environment"]
    names = backends(row for row in result["rows"] if row["status"] == "ok")
    sections = [_group_section(group, names) for group in grouped(result["rows"])]
    if result.get("summary"):
        sections.insert(0, _verdicts(result["summary"]))
    if pictures:
        sections.append(f'<h2>Pictures</h2><div class="pictures">{_figures(pictures)}</div>')
    sections += [
        f"<h2>Environment</h2>{_definitions(environment)}",
        f"<h2>Data</h2>{_definitions(result['data'])}",
        *([f"<h2>Start</h2>{_definitions(result['startup'])}"] if result.get("startup") else []),
        f"<h2>Method</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in _METHOD)}</ul>",
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # The page itself forbids what it must not do: fetch anything.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>Optical flow: latency and accuracy</title><style>{CSS}</style></head><body><main>"
        "<header><h1>Optical flow: latency and accuracy</h1>"
        f'<p class="soft">{escape(_machine(environment))}</p></header>'
        f"{''.join(sections)}</main></body></html>\n"
    )
    write_atomically(path, page.encode())


def _verdicts(lines: Sequence[str]) -> str:
    """The lines of the summary: what each is about, and how the project's promises fare."""
    items = []
    for line in lines:
        subject, _, text = line.partition(" ")
        text = re.sub(
            r"\[(ok|missed|unclear)\]", r'<span class="status \1">\1</span>', escape(text.strip())
        )
        items.append(f"<li><b>{escape(subject)}</b><span>{text}</span></li>")
    return f'<ul class="card summary">{"".join(items)}</ul>'


def _machine(environment: Mapping[str, Any]) -> str:
    threads = environment.get("threads")
    keys = ("cpu", "gpu", "date")
    parts = [str(environment[key]) for key in keys if environment.get(key)]
    return " · ".join(parts[:1] + ([f"{threads} threads"] if threads else []) + parts[1:])


def _group_section(group: RowGroup, names: Sequence[str]) -> str:
    measured = [row for row in group.measured if latency(row) is not None]
    parts = [f"<h2>{escape(group.title)}</h2>", f"<p>{escape(_summary(group))}</p>", _table(group)]
    single = [row for row in measured if is_latency(row)]
    points = [_point(row, names) for row in single if number(row.get("epe")) is not None]
    if points:
        parts.append(_scatter_section(points, names))
    if measured:
        parts.append(_strip_section(measured, names))
    return "".join(parts)


def _summary(group: RowGroup) -> str:
    counts = [
        f"{sum(row['status'] == status for row in group.rows)} {word}"
        for status, word in (("ok", "measured"), ("failed", "failed"), ("skipped", "skipped"))
    ]
    sentences = [f"{', '.join(counts)}."]
    for word, title in (("Fastest", "p50"), ("Most accurate", "EPE")):
        column = _column(title)
        best = next((row for row in group.measured if group.is_best(row, column)), None)
        if best is not None:
            value = f"{column.show(best)} {column.unit}"
            sentences.append(f"{word}: {label(best)} on {best['backend']}, {value}.")
    return " ".join(sentences)


def _column(title: str) -> Column:
    return next(column for column in COLUMNS if column.title == title)


def _table(group: RowGroup) -> str:
    head = "".join(
        f'<th scope="col" title="{escape(column.note)}">{escape(column.title)}'
        f'<span class="unit">{escape(column.unit)}</span></th>'
        for column in COLUMNS
    )
    return (
        '<div class="card"><table><thead><tr><th scope="col">Network</th><th scope="col">Backend'
        f'</th><th scope="col">Status</th>{head}</tr></thead>'
        f"<tbody>{''.join(_table_row(row, group) for row in group.rows)}</tbody></table></div>"
    )


def _table_row(row: Row, group: RowGroup) -> str:
    status = escape(str(row["status"]))
    runtime = " · ".join(str(row[key]) for key in ("runtime_version", "device") if row.get(key))
    if row["status"] == "ok":
        cells = "".join(_cell(row, group, column) for column in COLUMNS)
    else:
        reason = escape(str(row.get("reason") or "no reason given"))
        cells = f'<td class="reason" colspan="{len(COLUMNS)}">{reason}</td>'
    note = row.get("reason") if row["status"] == "ok" else None
    return (
        f'<tr><th scope="row">{escape(str(row["network"]))}'
        f'<span class="soft">{escape(str(row["precision"] or ""))}</span>'
        + (f'<span class="soft note">{escape(str(note))}</span></th>' if note else "</th>")
        + f"<td>{escape(str(row['backend']))}"
        f'<span class="soft">{escape(runtime)}</span></td>'
        f'<td><span class="status {status}">{status}</span></td>{cells}</tr>'
    )


def _cell(row: Row, group: RowGroup, column: Column) -> str:
    best = ' class="best"' if group.is_best(row, column) else ""
    title = escape(f"{column.title}, {column.unit}")
    return f'<td data-title="{title}"{best}>{column.show(row)}</td>'


def _point(row: Row, names: Sequence[str]) -> Point:
    note = f"{label(row)} on {row['backend']}: " + ", ".join(
        f"{column.show(row)} {column.unit}" for column in map(_column, ("p50", "EPE"))
    )
    x, y = latency(row), number(row.get("epe"))
    return Point(x or 0.0, y or 0.0, label(row), names.index(str(row["backend"])), note)


def _legend(names: Sequence[str], used: set[int]) -> str:
    items = "".join(
        f'<li><svg viewBox="-8 -8 16 16" aria-hidden="true">{marker(index, 0, 0)}</svg>'
        f"{escape(name)}</li>"
        for index, name in enumerate(names)
        if index in used
    )
    return f'<ul class="legend">{items}</ul>'


def _scatter_section(points: Sequence[Point], names: Sequence[str]) -> str:
    return (
        '<h3>Accuracy over latency</h3><p class="soft">Down and to the left is better. A thin line '
        "joins one network and precision on several backends; the dotted line the rows that no "
        "other row beats on both axes.</p>"
        f'<div class="card plot">{_legend(names, {point.series for point in points})}'
        f'<div class="wide">{scatter(points, width=1080, height=440)}</div>'
        f'<div class="narrow">{scatter(points, width=430, height=460)}</div></div>'
    )


def _strip_section(rows: Sequence[Row], names: Sequence[str]) -> str:
    values = [row["latency_ms"][key] for row in rows for key in ("p50", "p99")]
    values += [value for row in rows for value in row.get("raw_latency_ms") or ()]
    scale = LogScale.around(values, 1.15)
    lines = "".join(
        f'<div>{escape(label(row))} <span class="soft">{escape(str(row["backend"]))}</span></div>'
        f"{strip(row, scale, names.index(str(row['backend'])))}"
        f'<div class="figures">{" / ".join(_column(key).show(row) for key in _PERCENTILES)}</div>'
        for row in rows
    )
    return (
        '<h3>How the latencies spread</h3><p class="soft">Dot: p50. Short tick: p90. Tall tick: '
        "p99. Pale ticks: single measurements. Milliseconds, logarithmic.</p>"
        f'<div class="card strips">{lines}<div class="blank"></div>{strip_axis(scale)}'
        '<div class="blank"></div></div>'
    )


def _figures(pictures: Sequence[Picture]) -> str:
    return "".join(
        f'<figure class="card"><img alt="{escape(picture.title)}" '
        f'src="data:image/png;base64,{base64.b64encode(picture.png).decode()}">'
        f"<figcaption><b>{escape(picture.title)}</b>{escape(picture.caption)}</figcaption></figure>"
        for picture in pictures
    )


def _definitions(values: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>"
        for name, text in flattened(values)
    )
    return f'<dl class="card">{items}</dl>'


def terminal_table(result: Mapping[str, Any]) -> Group:
    """Return the result for ``rich``'s ``Console.print``, readable at 100 columns."""
    parts: list[RenderableType] = []
    for group in grouped(result["rows"]):
        parts.append(_terminal_group(group))
        for row in group.rows:
            if row["status"] != "ok":
                reason = row.get("reason") or "no reason given"
                line = f"{row['status']}: {label(row)} on {row['backend']}: {reason}"
                parts.append(Padding(Text(line, "dim"), (0, 0, 0, 2)))
        parts.append(Text())
    return Group(*parts)


def _terminal_group(group: RowGroup) -> Table:
    table = Table(title=group.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("network", "backend"):
        table.add_column(title, overflow="fold")
    columns = [_column(title) for title in _TERMINAL_TITLES]
    for column in columns:
        table.add_column(f"{column.title}\n{column.unit}", justify="right", no_wrap=True)
    for row in group.measured:
        numbers = [
            Text(column.show(row), "bold green" if group.is_best(row, column) else "")
            for column in columns
        ]
        table.add_row(Text(label(row)), Text(str(row["backend"])), *numbers)
    return table
