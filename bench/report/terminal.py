"""The comparison as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.report.table import Column, RowGroup, column, grouped, heading, label, unit

_TITLES = ("p50", "p99", "device", "fps", "EPE", "Fl-all", "vs fp32")


def terminal_table(result: Mapping[str, Any]) -> Group:
    """Return the result for ``rich``'s ``Console.print``, readable at 100 columns."""
    parts: list[RenderableType] = []
    for group in grouped(result["rows"]):
        timed = [column(name) for name in _TITLES]
        parts.append(_table(heading(group, result["data"]), group, timed, result["data"]))
        if errors := group.error_columns():
            title = "error by true motion, and relative to DIS"
            parts.append(_table(title, group, errors, result["data"]))
        for row in group.rows:
            if row["status"] != "ok":
                reason = row.get("reason") or "no reason given"
                line = f"{row['status']}: {label(row)} on {row['backend']}: {reason}"
                parts.append(Padding(Text(line, "dim"), (0, 0, 0, 2)))
        parts.append(Text())
    return Group(*parts)


def _table(
    title: str, group: RowGroup, columns: Sequence[Column], data: Mapping[str, Any]
) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("network", "backend"):
        table.add_column(name, overflow="fold")
    for each in columns:
        heads = f"{each.title}\n{unit(each, group, data)}"
        table.add_column(heads, justify="right", no_wrap=True)
    for row in group.measured:
        numbers = [
            Text(each.show(row), "bold green" if group.is_best(row, each) else "")
            for each in columns
        ]
        table.add_row(Text(label(row)), Text(str(row["backend"])), *numbers)
    return table
