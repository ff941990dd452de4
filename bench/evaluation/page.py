"""The evaluation as one self-contained HTML file, rendered from ``evaluation.html.j2``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.evaluation.results import worst_images
from bench.evaluation.table import counted, shown_figures
from bench.report.pictures import Picture
from bench.report.table import MISSING
from bench.report.template import machine, write_page

LISTED = 10  # worst images of each subset


def write_report(
    result: Mapping[str, Any], pictures: Sequence[Sequence[Picture]], path: Path
) -> None:
    """Write the report of one ``bench.evaluate`` result to ``path``, atomically.

    Args:
        result: what ``--json`` writes.
        pictures: of each subset.
        path: the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    method = result["method"]
    write_page(
        path,
        "evaluation.html.j2",
        filters={
            "counted": counted,
            "two": lambda value: MISSING if value is None else f"{value:.2f}",
            "worst": lambda each: worst_images(each, LISTED),
        },
        title=f"Optical flow: errors of {method['network']} {method['precision']}",
        machine=machine(result["environment"]),
        results=result["subsets"],
        figures=shown_figures(result["subsets"]),
        pictures=pictures,
        method=method,
        environment=result["environment"],
    )
