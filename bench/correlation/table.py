"""The result of ``bench.correlation`` for a terminal: a table per device, and the floors."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.report.table import MISSING, three_digits

Json = Mapping[str, Any]

_NUMBERS = (
    "forward\nms p50",
    "backward\nms p50",
    "speed-up",
    "x floor",
    "largest\nerror",
)


def tables(result: Json) -> Group:
    """Return one table per device, the fastest row first, and the rows without a measurement."""
    rows = result["rows"]
    measured = [row for row in rows if row["status"] == "ok"]
    measured.sort(key=lambda row: row["forward_ms"]["p50"])
    parts: list[RenderableType] = []
    for device in dict.fromkeys(row["device"] for row in rows):
        found = [row for row in measured if row["device"] == device]
        if found:
            parts.append(_table(_title(device, result), found))
    stopped: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] != "ok":
            name = f"{row['home']}, {row['dtype']} on {row['device']}"
            stopped.setdefault(f"{row['status']}, {row['reason']}", []).append(name)
    for reason, names in stopped.items():
        parts.append(Padding(Text(f"{reason}: {'; '.join(names)}", "dim"), (0, 0, 0, 2)))
    return Group(*parts, Text())


def lines(result: Json) -> Iterator[str]:
    """Yield lines about the machine, and each floor with its derivation."""
    environment, threads = result["environment"], result["setting"]["threads"]
    threads = f"{threads} thread{'s' if threads > 1 else ''}"
    yield f"machine    {environment['cpu']}, {threads}, {environment['gpu'] or 'no GPU'}"
    for floor in result["floors"]:
        yield (
            f"floor      {floor['device']} {floor['dtype']}: {_ms(floor['floor_ms'])} ms, "
            "the larger of"
        )
        yield (
            f"           {floor['operations'] / 1e9:.3g} G operations inside the image (of "
            f"2*C*K*H*W = {floor['operations_padded'] / 1e9:.3g} G) at "
            f"{floor['matmul_gflops']:.4g} GFLOP/s (matmul): {_ms(floor['compute_ms'])} ms"
        )
        yield (
            f"           {floor['bytes'] / 1e6:.3g} MB (f1, f2, result once) at "
            f"{floor['copy_gb_s']:.4g} GB/s (copy): {_ms(floor['traffic_ms'])} ms"
        )


def _title(device: str, result: Json) -> str:
    setting, environment = result["setting"], result["environment"]
    where = "CPU" if device == "cpu" else environment["gpu"] or "GPU"
    return (
        f"{where}: C {setting['channels']}, {setting['height']}x{setting['width']}, displacement "
        f"{setting['max_displacement']} in steps of {setting['stride_2']}"
    )


def _table(title: str, rows: Sequence[Json]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("implementation", "dtype"):
        table.add_column(heading, overflow="fold")
    for heading in _NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        backward = row["backward_ms"]
        table.add_row(
            row["home"],
            row["dtype"],
            _ms(row["forward_ms"]["p50"]),
            _ms(backward["p50"]) if backward else MISSING,
            _times(row["speed_up"]),
            _times(row["times_floor"]),
            f"{row['largest_error']:.1e}",
        )
    return table


def _ms(value: float) -> str:
    # On a GPU these are microseconds.
    return three_digits(value) if value >= 0.1 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return MISSING if value is None else three_digits(value)
