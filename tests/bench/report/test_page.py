import base64
import io
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from bench.report import page as report_page
from bench.report.page import write_report
from bench.report.pictures import Picture
from bench.report.table import COLUMNS, grouped, number, three_digits
from bench.report.terminal import terminal_table

CSS = Path(report_page.__file__).with_name("page.css").read_text()
VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script>&\"[bold]"


def row(network="net", backend="onnxruntime", p50=10.0, epe=2.0, **changes):
    figures = {"p50": p50, "p90": 1.2 * p50, "p99": 2 * p50, "mean": p50, "n": 3}
    return {
        "network": network, "backend": backend, "runtime_version": "1.0", "precision": "fp32",
        "device": "cpu", "height": 384, "width": 512, "batch": 1, "status": "ok", "reason": None,
        "latency_ms": figures, "device_ms": None, "fps": 1000 / p50, "epe": epe, "fl_all": 12.5,
        "epe_vs_reference": 4e-5, "peak_memory_mb": 240, "raw_latency_ms": [p50, 1.2 * p50, p50],
    } | changes  # fmt: skip


def idle(status, reason, **changes):
    nothing = dict.fromkeys(
        ("latency_ms", "device_ms", "fps", "fl_all", "epe_vs_reference", "peak_memory_mb")
    )
    return row(status=status, reason=reason, epe=None, raw_latency_ms=[], **nothing) | changes


def result_of(*rows, environment=None, data=None):
    return {
        "schema": 1,
        "environment": environment or {"cpu": "Some CPU", "threads": 2, "date": "2026-11-21"},
        "data": data or {"name": "motorcycle"},
        "rows": list(rows),
    }


class Page(HTMLParser):
    """Checks that tags are balanced; collects text, cells and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.tags, self.text = [], [], [], ""
        self.cells = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append([dict(attrs).get("class"), ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.cells and {"td", "th"} & set(self.open):
            self.cells[-1][1] += data


def page_of(tmp_path, result, pictures=()):
    path = tmp_path / "report.html"
    write_report(result, pictures, path)
    return Page(path.read_text(encoding="utf-8"))


def printed(result, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal_table(result))
    return console.file.getvalue()


def test_the_page_shows_machine_date_rows_and_method(tmp_path):
    page = page_of(tmp_path, result_of(row(), row("dis_fast", "opencv", 5.0, 2.77)))
    for text in ("Some CPU · 2 threads · 2026-11-21", "384x512, batch 1", "dis_fast", "2.770",
                 "motorcycle", "Method", "4e-05", "2 measured, 0 failed, 0 skipped"):  # fmt: skip
        assert text in page.text


def test_the_page_makes_no_network_request(tmp_path):
    picture = Picture("Flow", "of a pair", b"\x89PNG")
    write_report(result_of(row()), [picture], tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<iframe", text)
    assert "default-src 'none'" in text
    sources = [value for _, name, value in Page(text).attributes if name in ("src", "href")]
    assert [base64.b64decode(source.partition("base64,")[2]) for source in sources] == [b"\x89PNG"]


def test_all_values_are_escaped(tmp_path):
    rows = [
        row(HOSTILE, HOSTILE, precision=HOSTILE, device=HOSTILE, runtime_version=HOSTILE),
        idle("failed", HOSTILE),
        idle("skipped", HOSTILE, network=HOSTILE, backend=HOSTILE),
    ]
    result = result_of(*rows, environment={"cpu": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}},
                       data={HOSTILE: HOSTILE})  # fmt: skip
    page = page_of(tmp_path, result, [Picture(HOSTILE, HOSTILE, b"")])
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 10
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert printed(result).count("[bold]") >= 5


def test_rows_that_did_not_run_keep_their_reason(tmp_path):
    rows = [row(), idle("skipped", "no NVIDIA GPU on this machine"), idle("failed", "it crashed")]
    page = page_of(tmp_path, result_of(*rows))
    cells = [tuple(cell) for cell in page.cells]
    assert ("reason", "no NVIDIA GPU on this machine") in cells
    assert ("reason", "it crashed") in cells
    assert "1 measured, 1 failed, 1 skipped" in page.text
    text = printed(result_of(*rows))
    assert "skipped: net fp32 on onnxruntime: no NVIDIA GPU on this machine" in text
    assert "failed: net fp32 on onnxruntime: it crashed" in text


def test_the_summary_stands_at_the_top(tmp_path):
    lines = ["speed      2.00 times as fast", "start      slow", HOSTILE]
    page = page_of(tmp_path, {**result_of(row()), "summary": lines})
    assert page.text.index("2.00 times as fast") < page.text.index("384x512, batch 1")
    assert "<script>" in page.text
    html = (tmp_path / "report.html").read_text()
    assert "<li><b>speed</b><span>2.00 times" in html


def test_a_row_that_ran_shows_its_note(tmp_path):
    page = page_of(tmp_path, result_of(row(reason="seeded random weights: " + HOSTILE)))
    assert "seeded random weights: " + HOSTILE in page.text


def test_a_run_without_results_has_a_report(tmp_path):
    page = page_of(tmp_path, result_of(idle("skipped", "no runtime")))
    assert "no runtime" in page.text
    assert "svg" not in page.tags
    assert page_of(tmp_path, result_of()).text


def test_the_best_of_each_size_is_emphasised_and_equal_as_shown_is_equal(tmp_path):
    rows = [
        row("a", p50=10.0, epe=2.30001), row("b", p50=5.0, epe=3.0), row("c", p50=12.0, epe=2.3),
        row("d", p50=90.0, epe=4.0, height=768, width=1024), row("e", p50=5.1, epe=None),
    ]  # fmt: skip
    page = page_of(tmp_path, result_of(*rows))
    best = [text for kind, text in page.cells if kind == "best"]
    assert sorted(best) == ["2.300", "2.300", "4.000", "5.00", "90.0"]
    assert "Fastest: b fp32 on onnxruntime, 5.00 ms. Most accurate: a fp32" in page.text


def test_rows_of_throughput_are_not_the_fastest(tmp_path):
    rows = [row("a", p50=6.0), row("a", "onnxruntime (many)", p50=5.0, epe=1.0)]
    page = page_of(tmp_path, result_of(*rows))
    best = [text for kind, text in page.cells if kind == "best"]
    assert sorted(best) == ["1.000", "6.00"]
    assert "Fastest: a fp32 on onnxruntime, 6.00 ms. Most accurate: a fp32 on onnxr" in page.text
    # They are not in the plot of latencies either.
    assert "a fp32 on onnxruntime: 6.00 ms" in page.text
    assert "a fp32 on onnxruntime (many): 5.00 ms" not in page.text


def test_the_heading_states_that_pairs_are_resized(tmp_path):
    result = result_of(row(), data={"name": "motorcycle", "sizes": ["384x512", "500x741"]})
    heading = "384x512, batch 1 (pairs resized from 500x741)"
    assert heading in page_of(tmp_path, result).text
    assert heading in printed(result)
    assert "px, resized" in page_of(tmp_path, result).text
    assert "px, resized" in printed(result)
    assert "resized" not in printed(result_of(row(), data={"sizes": ["384x512"]}))
    result = result_of(row(height=None, width=None), data={"sizes": ["384x512", "500x741"]})
    assert "native sizes, batch 1 (384x512, 500x741)" in printed(result)
    assert "resized" not in printed(result)


def test_errors_by_motion_and_relative_to_dis_have_a_table(tmp_path):
    values = {"s0-10": 0.61, "s10-40": 4.2, "s40+": None}
    scores = {name: {"epe": value} for name, value in values.items()}
    relative = {"dis_medium": {"ratio": 1.114, "won": 9, "pairs": 21}}
    result = result_of(row(scores=scores, epe_relative=relative))
    page = page_of(tmp_path, result)
    assert {"s0-10px", "s10-40px", "÷ DIS mediumwon"} <= {text for _, text in page.cells}
    assert not any("s40+px" in text or "DIS fastwon" in text for _, text in page.cells)
    for text in ("0.61", "4.20", "1.11 9/21"):
        assert text in printed(result)
        assert text in [cell for _, cell in page.cells]


def test_groups_keep_their_order_and_rows_go_by_latency():
    rows = [row("slow", p50=9, batch=4), row("other"), idle("skipped", "x", batch=4),
            idle("failed", "x", batch=4), row("fast", p50=3, batch=4)]  # fmt: skip
    groups = grouped(rows)
    assert [group.title for group in groups] == ["384x512, batch 4", "384x512, batch 1"]
    assert [row["status"] for row in groups[0].rows] == ["ok", "ok", "failed", "skipped"]
    assert [row["network"] for row in groups[0].rows[:2]] == ["fast", "slow"]


def test_rows_without_an_error_are_not_in_the_scatter_plot(tmp_path):
    without = page_of(tmp_path, result_of(row(epe=None), row(epe=math.nan)))
    assert "Accuracy over latency" not in without.text
    assert "Distribution of the latencies" in without.text
    assert "Accuracy over latency" in page_of(tmp_path, result_of(row())).text


def test_a_picture_is_embedded_as_it_is(tmp_path):
    png = cv2.imencode(".png", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))[1].tobytes()
    page = page_of(tmp_path, result_of(row()), [Picture("Ground truth", "of pair 1", png)])
    assert ("img", "alt", "Ground truth") in page.attributes
    assert ("img", "src", "data:image/png;base64," + base64.b64encode(png).decode()) in (
        page.attributes
    )


def test_a_failed_write_keeps_the_former_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("former")

    def refuse(source, target):
        raise PermissionError("refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_report(result_of(row()), [], path)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_the_terminal_table_fits_100_columns():
    rows = [
        row("flownets_slim", name, 1234.5, 12.3456, device_ms={"p50": 1000.0}, fps=8123.0)
        for name in ("onnxruntime (bare)", "pytorch-compiled", "onnxruntime-cuda")
    ]
    lines = printed(result_of(*rows, idle("skipped", "because " * 40))).splitlines()
    assert max(map(len, lines)) <= 100
    measured = [line for line in lines if "12.346" in line]
    assert len(measured) == 3  # one line each, without wrapping
    for text in ("1234", "8123", "1000", "12.5", "4e-05"):
        assert all(text in line for line in measured)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00123, "0.0012"), (0.912, "0.912"), (2.534, "2.53"), (27.08, "27.1"),
     (143.2, "143"), (12345.6, "12346")],
)  # fmt: skip
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_missing_numbers_are_dashes():
    assert [number(value) for value in (1, 2.5, None, "3", math.nan, math.inf, True)] == [
        1.0, 2.5, None, None, None, None, None,
    ]  # fmt: skip
    assert {column.show(idle("ok", None)) for column in COLUMNS} == {"–"}  # noqa: RUF001


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_stand_out_in_light_and_dark(scheme):
    # WCAG 2.2: 4.5 for text, 3 for graphics.
    block = CSS.split("@media (prefers-color-scheme: dark)")[scheme]
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6}|#fff)\b", block))
    colors = {name: color.ljust(7, "f") for name, color in colors.items()}
    series = [colors[f"s{index}"] for index in range(8)]
    assert len(set(series)) == 8
    assert min(contrast(color, colors["card"]) for color in series) >= 3
    for text, ground in (("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"),
                         ("good", "good-page"), ("bad", "bad-page")):  # fmt: skip
        assert contrast(colors[text], colors[ground]) >= 4.5
