"""The result of ``bench.storage`` for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from bench.report.table import MISSING, three_digits

COLUMNS = ("method", "KB a flow", "of .flo", "max error px", "mean error px", "write ms", "read ms")


def table(flow_set: Mapping[str, Any]) -> Table:
    """Return the table of a set, as of the JSON result."""
    title = f"{flow_set['name']}: {flow_set['flows']} flows of {', '.join(flow_set['sizes'])}"
    result = Table(*COLUMNS, title=title, box=box.SIMPLE, title_justify="left")
    for column in result.columns[1:]:
        column.justify = "right"
    for cells in rows(flow_set):
        result.add_row(*cells)
    return result


def rows(flow_set: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of each row, in the order of `COLUMNS`."""
    raw = next(row["bytes"] for row in flow_set["rows"] if row["method"] == ".flo")
    return [[row["method"], *_cells(row, raw)] for row in flow_set["rows"]]


def _cells(row: Mapping[str, Any], raw: float) -> list[str]:
    if row["reason"] is not None:
        return [MISSING] * (len(COLUMNS) - 1)
    errors = (f"{row[key]:.2g}" for key in ("max_error", "mean_error"))
    return [
        three_digits(row["bytes"] / 1000),
        f"{100 * row['bytes'] / raw:.1f} %",
        *errors,
        f"{row['write_ms']:.1f}",
        f"{row['read_ms']:.1f}",
    ]
