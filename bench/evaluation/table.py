"""The figures that the terminal table and the page show, and the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from bench.report.table import MISSING, number, three_digits

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


def _score(region: str, name: str) -> Callable[[Result], object]:
    return lambda result: result["scores"][region][name]


def _latency(name: str) -> Callable[[Result], object]:
    return lambda result: (result["latency_ms"] or {}).get(name)


_BAD = "share of pixels with an error above {} px"
FIGURES = (
    Figure("EPE", "px", "mean end-point error over all pixels", _score("all", "epe")),
    Figure("EPE per image", "px", "mean of the images' means", lambda x: x["epe_per_image"]),
    Figure("1 px", "%", _BAD.format(1), _score("all", "px1")),
    Figure("3 px", "%", _BAD.format(3), _score("all", "px3")),
    Figure("5 px", "%", _BAD.format(5), _score("all", "px5")),
    Figure("Fl-all", "%", "share of pixels wrong by over 3 px and 5 %", _score("all", "fl")),
    Figure("Fl-bg", "%", "Fl of the background", _score("background", "fl")),
    Figure("Fl-fg", "%", "Fl of moving objects", _score("foreground", "fl")),
    Figure("WAUC", "%", "weighted area under the curve of inliers", _score("all", "wauc")),
    Figure("s0-10", "px", "EPE where the true motion is below 10 px", _score("s0-10", "epe")),
    Figure("s10-40", "px", "EPE where it is 10 to 40 px", _score("s10-40", "epe")),
    Figure("s40+", "px", "EPE where it is above 40 px", _score("s40+", "epe")),
    Figure("matched", "px", "EPE of pixels visible in both images", _score("matched", "epe")),
    Figure("unmatched", "px", "EPE of the other pixels", _score("unmatched", "epe")),
    Figure("3 px matched", "%", "KITTI 2012's Out-Noc", _score("matched", "px3")),
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
