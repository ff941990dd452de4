"""A report on a checkpoint as text."""

import textwrap
from collections.abc import Iterator, Sequence

from training.checkpoints.report import Report
from training.checkpoints.stated import FORMULAS
from training.checkpoints.words import shown, some_names

_WIDTH = 100
_KEY = 15
# Of the header of this project's files.
_ELSEWHERE = ("network", "normalisation", "licence", "upsampling", "facts")
_NOTHING = ("unknown", "{}")
_LISTED = 12  # names in a list; --json has all


def as_text(report: Report) -> str:
    """Return the report, one subject a line."""
    lines = []
    for key, value in _subjects(report):
        lines += textwrap.wrap(
            value,
            width=_WIDTH,
            initial_indent=f"{key:<{_KEY}}",
            subsequent_indent=" " * _KEY,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _subjects(report: Report) -> Iterator[tuple[str, str]]:
    dtypes = ", ".join(f"{count} {kind}" for kind, count in report.dtypes.items())
    facts = ", ".join(
        f"{shown(key)} {_short(value)}"
        for key, value in report.facts.items()
        if key not in _ELSEWHERE and value not in _NOTHING
    )
    yield "file", shown(report.file) if not report.file.isprintable() else report.file
    yield "layout", report.layout
    yield "network", f"{report.network}, {report.parameters:,} parameters"
    yield "container", report.container + (f"; {facts}" if facts else "")
    yield "tensors", f"{report.tensors}: {dtypes}"
    yield "normalisation", f"{report.normalisation}: {FORMULAS[report.normalisation]}"
    yield "colours", report.colours + ("" if report.colours == "RGB" else ", RGB after conversion")
    yield "flow", _flow(report)
    yield "taken from", "; ".join(f"{name} {fact}" for name, fact in report.taken.items())
    yield "licence", shown(report.licence)
    yield "renamed", _renamed(report)
    for number, (rule, count) in enumerate(report.changes.items()):
        yield "" if number else "changed", f"{rule} ({count} tensor{'s' if count > 1 else ''})"
    for key, names in (
        ("not needed", report.ignored),
        ("not read", report.left_out),
        ("missing", report.missing or ["none"]),
        ("left over", report.left_over or ["none"]),
        ("wrong shapes", [f"{shown(name)} is {found}, expected {expected}"
                          for name, (found, expected) in report.wrong_shapes.items()]),
        ("NaN, infinity", report.not_finite or ["none"]),
    ):  # fmt: skip
        if names:
            yield key, _listed(names)
    if report.note:
        yield "note", report.note


def _flow(report: Report) -> str:
    unit = "pixels" if report.flow_scale == 1 else f"pixels / {report.flow_scale:g}"
    if report.output_stride == 1:
        return f"{unit}, at the size of the images"
    return (
        f"{unit}, at 1/{report.output_stride} of the size of the images; {report.upsampling} "
        "upsampling"
    )


def _renamed(report: Report) -> str:
    if not report.renamed:
        return "none: the names are those of this project"
    found, name = next(iter(report.renamed.items()))
    return f"{len(report.renamed)} tensors, such as {shown(found)} to {name}"


def _listed(names: Sequence[str]) -> str:
    return (f"{len(names)}: " if len(names) > 1 else "") + some_names(names, most=_LISTED)


def _short(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return textwrap.shorten(shown(text), 60, placeholder=" ...")
