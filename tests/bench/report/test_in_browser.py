"""The reports in a browser: every picture is decoded, nothing overflows, nothing is blocked."""

import json
import shutil
import subprocess
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.report.page import write_report
from bench.report.pictures import Picture
from tests.support.pages import ROOT

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
WIDTHS = (400, 1300)  # of a telephone and a desktop, in CSS pixels
# Opens each page in a frame of each width and writes what it finds into its own text.
PROBE = """<!doctype html><body>FRAMES<pre id=found></pre><script>
onload = () => {
  const facts = frame => {
    const page = frame.contentDocument, pictures = [...page.images];
    const visible = element => element.getClientRects().length > 0;
    return {
      rows: page.querySelectorAll("tbody tr").length,
      pictures: pictures.length,
      undecoded: pictures.filter(one => one.naturalWidth === 0).length,
      charts: [...page.querySelectorAll("svg")].filter(visible).length,
      overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    };
  };
  found.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(facts));
};
</script>"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, int]], str, dict]:
    """What the browser finds in the report of a committed result, its log, and the result."""
    if not BROWSER:
        pytest.skip("needs Chromium or Chrome on PATH")
    folder = tmp_path_factory.mktemp("pages")
    result = json.loads((ROOT / "bench/results/xeon-amx-2-cores.json").read_text())
    png = cv2.imencode(".png", np.zeros((40, 60, 3), np.uint8))[1].tobytes()
    write_report(result, [Picture("First image", "a pair", png)], folder / "report.html")
    frames = (f'<iframe src="report.html" width="{w}" height="900"></iframe>' for w in WIDTHS)
    probe = folder / "probe.html"
    probe.write_text(PROBE.replace("FRAMES", "".join(frames)))
    done = run_browser(probe, folder / "profile")
    text = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    return json.loads(unescape(text)), done.stderr, result


def run_browser(page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    """Print the page's elements after its scripts have run; the console is in the log."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               "--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom",
               "--virtual-time-budget=5000", f"--user-data-dir={profile}"]  # fmt: skip
    command = [BROWSER, *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def test_every_row_is_in_the_page(opened) -> None:
    found, _, result = opened
    assert [page["rows"] >= len(result["rows"]) for page in found] == [True, True]


def test_every_picture_is_decoded_and_charts_are_visible(opened) -> None:
    for page in opened[0]:
        assert page["pictures"] > 0
        assert page["undecoded"] == 0
        assert page["charts"] > 0


def test_nothing_is_wider_than_the_window(opened) -> None:
    assert [page["overflow"] for page in opened[0]] == [0, 0]


def test_the_console_is_empty(opened) -> None:
    assert [line for line in opened[1].splitlines() if "CONSOLE" in line] == []
