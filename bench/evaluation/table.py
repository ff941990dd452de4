"""The figures that the terminal table and the page show, and the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from bench.report.table import MISSING, number, three_digits
from engine.flow import figures

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """One number of a subset: ``title (unit)``, explained by ``note``."""

    title: str
    unit: str
    note: str
    value: Callable[[Result], object]
    text: Callable[[float], str] = "{:.2f}".format

    def show(self, result: Result) -> str:
        value = number(self.value(result))
        return MISSING if value is None else self.text(value)


def _score(figure: figures.Figure) -> Callable[[Result], object]:
    return lambda result: figure.of(result["scores"])


def _latency(name: str) -> Callable[[Result], object]:
    return lambda result: (result["latency_ms"] or {}).get(name)


_SCORES = [Figure(each.title, each.unit, each.note, _score(each)) for each in figures.FIGURES]
FIGURES = (
    _SCORES[0],
    Figure("EPE per image", "px", "mean of the images' means", lambda x: x["epe_per_image"]),
    *_SCORES[1:],
    Figure("time", "ms", "median per pair, host to host", _latency("p50"), three_digits),
    Figure("mean time", "ms", "mean per pair, host to host", _latency("mean"), three_digits),
)


def counted(pairs: int) -> str:
    """Return for example ``3 pairs``."""
    return f"{pairs} pair" if pairs == 1 else f"{pairs} pairs"


def shown_figures(results: Sequence[Result]) -> list[Figure]:
    """Return the figures that at least one subset has."""
    return [
        figure for figure in FIGURES if any(figure.show(result) != MISSING for result in results)
    ]


def terminal_table(results: Sequence[Result]) -> Table:
    """Return a table with a column for each subset."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("")
    for result in results:
        split = f"{result['split']}, " if result["split"] else ""
        heading = f"{result['name']}\n{split}{counted(result['pairs'])}"
        table.add_column(heading, justify="right")
    for figure in shown_figures(results):
        table.add_row(figure.title, figure.unit, *(figure.show(result) for result in results))
    return table
