"""Groups, columns and number formats that the HTML report and the terminal table share."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report.comparisons import BASELINES, size_of
from bench.runners.registry import BY_NAME
from engine.flow.figures import FIGURES, Figure
from engine.flow.regions import BY_MOTION

Row = Mapping[str, Any]
MISSING = "–"  # noqa: RUF001 - an en dash is meant
_STATUS_ORDER = {"ok": 0, "failed": 1, "skipped": 2}


@dataclass(frozen=True)
class Column:
    """One number of a row: ``title (unit)``, explained by ``note``."""

    title: str
    unit: str
    note: str
    value: Callable[[Row], float | None]
    text: Callable[[float], str]
    lower_is_better: bool = False
    more: Callable[[Row], str] = lambda row: ""

    def show(self, row: Row) -> str:
        value = self.value(row)
        return MISSING if value is None else self.text(value) + self.more(row)


def number(value: object) -> float | None:
    """Return ``value`` as a float, or None if it is not a finite number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def three_digits(value: float) -> str:
    """Return ``value`` with three significant digits and no exponent."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 4)}f}"


def latency(row: Row, key: str = "p50") -> float | None:
    """Return one figure of the end-to-end latency in milliseconds."""
    return number((row.get("latency_ms") or {}).get(key))


def is_latency(row: Row) -> bool:
    """Whether the times are latencies of single pairs, not times per result of concurrent pairs."""
    method = BY_NAME.get(str(row["backend"]))
    return method is None or method.kind != "many"


def _device_ms(row: Row) -> float | None:
    return number((row.get("device_ms") or {}).get("p50"))


COLUMNS = (
    Column("p50", "ms", "median latency, host to host", latency, three_digits, True),
    Column("p90", "ms", "90 % are faster", lambda row: latency(row, "p90"), three_digits),
    Column("p99", "ms", "99 % are faster", lambda row: latency(row, "p99"), three_digits),
    Column("device", "ms", "median on the device, data resident", _device_ms, three_digits),
    Column("fps", "1/s", "pairs per second", lambda row: number(row.get("fps")), three_digits),
    Column("EPE", "px", "mean end-point error at the size of the row",
           lambda row: number(row.get("epe")), "{:.3f}".format, True),
    Column("Fl-all", "%", "wrong by over 3 px and 5 %", lambda row: number(row.get("fl_all")),
           "{:.1f}".format),
    Column("vs fp32", "px", "mean distance to fp32 PyTorch",
           lambda row: number(row.get("epe_vs_reference")), "{:.2g}".format),
    Column("memory", "MB", "peak of the process", lambda row: number(row.get("peak_memory_mb")),
           "{:.0f}".format),
)  # fmt: skip


def _scored(figure: Figure) -> Column:
    def value(row: Row) -> float | None:
        found = row.get("scores")
        return None if found is None else number(figure.of(found))

    return Column(figure.title, figure.unit, figure.note, value, "{:.2f}".format, True)


def _relative_to(preset: str, name: str) -> Column:
    def found(row: Row) -> Mapping[str, Any]:
        result: Mapping[str, Any] = (row.get("epe_relative") or {}).get(preset, {})
        return result

    return Column(
        f"÷ {name}",
        "won",
        f"EPE relative to {name}, geometric mean over the pairs; pairs with a smaller error",
        lambda row: number(found(row).get("ratio")),
        "{:.2f}".format,
        more=lambda row: " {won}/{pairs}".format(**found(row)),
    )


# Columns of the table of errors.
ERROR_COLUMNS = (
    *(_scored(figure) for figure in FIGURES if figure.region in BY_MOTION),
    *(_relative_to(preset, name) for preset, name in BASELINES.items()),
)


def column(title: str) -> Column:
    return next(each for each in COLUMNS if each.title == title)


@dataclass(frozen=True)
class RowGroup:
    """Comparable rows: one image size and batch; the fastest first."""

    title: str
    rows: tuple[Row, ...]

    @property
    def measured(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row["status"] == "ok")

    def error_columns(self) -> list[Column]:
        """Return the EPE and the columns of `ERROR_COLUMNS` that a row has; nothing without any."""
        shown = [
            each
            for each in ERROR_COLUMNS
            if any(each.value(row) is not None for row in self.measured)
        ]
        return [column("EPE"), *shown] if shown else []

    def summary(self) -> str:
        """Return sentences: how many rows ran, the fastest one and the most accurate one."""
        counts = [
            f"{sum(row['status'] == status for row in self.rows)} {word}"
            for status, word in (("ok", "measured"), ("failed", "failed"), ("skipped", "skipped"))
        ]
        sentences = [f"{', '.join(counts)}."]
        for word, title in (("Fastest", "p50"), ("Most accurate", "EPE")):
            shown = column(title)
            best = next((row for row in self.measured if self.is_best(row, shown)), None)
            if best is not None:
                value = f"{shown.show(best)} {shown.unit}"
                sentences.append(f"{word}: {label(best)} on {best['backend']}, {value}.")
        return " ".join(sentences)

    def is_best(self, row: Row, column: Column) -> bool:
        """Whether no other row has a lower number; numbers that are shown equal are equal."""
        # The time per result of concurrent pairs is not the latency of a pair.
        rivals = [other for other in self.measured if column.title != "p50" or is_latency(other)]
        values = [value for other in rivals if (value := column.value(other)) is not None]
        if row not in rivals or not column.lower_is_better or not values or row["status"] != "ok":
            return False
        return column.show(row) == column.text(min(values))


def heading(group: RowGroup, data: Mapping[str, Any]) -> str:
    """Return the group's title and, if they were resized, the sizes of the pairs."""
    others = _other_sizes(group, data)
    if not others:
        return group.title
    more = ", ..." if len(others) > 3 else ""
    how = "pairs resized from " if is_resized(group, data) else ""
    return f"{group.title} ({how}{', '.join(others[:3])}{more})"


def unit(column: Column, group: RowGroup, data: Mapping[str, Any]) -> str:
    """Return a column's unit, for an error with a note if it is that of resized pairs."""
    is_error = column.title == "EPE" or column in ERROR_COLUMNS
    noted = is_error and column.unit == "px" and is_resized(group, data)
    return f"{column.unit}, resized" if noted else column.unit


def is_resized(group: RowGroup, data: Mapping[str, Any]) -> bool:
    """Whether some of the pairs have another size than the rows of the group."""
    return group.rows[0]["height"] is not None and bool(_other_sizes(group, data))


def _other_sizes(group: RowGroup, data: Mapping[str, Any]) -> list[str]:
    return [size for size in data.get("sizes", ()) if size != size_of(group.rows[0])]


def grouped(rows: Iterable[Row]) -> list[RowGroup]:
    """Return the rows by size and batch, in the order of their first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        title = f"{size_of(row)}, batch {row['batch']}"
        groups.setdefault(title, []).append(row)
    return [RowGroup(title, tuple(sorted(rows, key=_rank))) for title, rows in groups.items()]


def _rank(row: Row) -> tuple[int, float]:
    return _STATUS_ORDER.get(row["status"], 3), latency(row) or 0


def label(row: Row) -> str:
    """Return the network and its precision."""
    return " ".join(str(row[key]) for key in ("network", "precision") if row.get(key))


def backends(rows: Iterable[Row]) -> list[str]:
    """Return the backends in the order of their first appearance."""
    return list(dict.fromkeys(str(row["backend"]) for row in rows))


def flattened(values: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """Return nested ``values`` as (dotted name, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += flattened(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            pairs.append((f"{prefix}{key}", f"{value:.4g}"))
        elif isinstance(value, list | tuple):
            pairs.append((f"{prefix}{key}", ", ".join(map(str, value)) or MISSING))
        else:
            pairs.append((f"{prefix}{key}", MISSING if value is None else str(value)))
    return pairs
