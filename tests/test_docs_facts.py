"""What the README and docs/ name exists, and their tables show what was measured."""

import json
import math
import re
import tomllib

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from bench.evaluation.table import FIGURES
from bench.storage.table import COLUMNS, rows
from engine.data.frames import FRAMES
from engine.data.sources import DATA_SETS
from engine.data.video import VIDEO
from tests.support.pages import EVERYTHING, PAGES, ROOT, blocks, commands, section, table_rows
from training.networks import NETWORKS, build_network
from training.weights import load_weights

# By their titles in the tables.
RUNTIMES = {
    "OpenVINO": "openvino",
    "OpenVINO, unrefined": "openvino (unrefined)",
    "OpenVINO, motion compensated": "openvino (motion compensated)",
    "ONNX Runtime": "onnxruntime",
    "PyTorch eager": "pytorch-eager",
    "OpenCV": "opencv",
}
MISSING = "–"  # noqa: RUF001 - an en dash is meant
# Of the tables of networks: runtime and precision.
NETWORK_COLUMNS = {
    "fp32 ms": ("openvino", "fp32"),
    "int8 ms": ("openvino", "int8"),
    "PyTorch ms": ("pytorch-eager", "fp32"),
}
NOT_MEASURED = dict.fromkeys(("ms", "EPE px", "distance px"), MISSING)


def named(pattern: str) -> set[str]:
    """Return the names in comma-separated lists that a pattern finds."""
    found = {name for names in re.findall(pattern, EVERYTHING) for name in names.split(",")}
    assert found
    return found


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {line.split()[1] for line in commands(EVERYTHING) if line.startswith("make ")}
    assert used | named(r"`make ([a-z0-9-]+)`") <= targets


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {*project["optional-dependencies"]}
    assert named(r"'\.\[([a-z,-]+)\]'") <= extras
    rows = table_rows(section("docs/install.md", "Extras"))
    assert {row["extra"].strip("`") for row in rows} == extras


def test_networks_exist() -> None:
    assert named(r"--network ([a-z0-9_,]+)") <= NETWORKS.keys()


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    folders = "bench|docs|engine|export|kernels|tests|training"
    names = re.findall(rf"`((?:{folders})/[\w./-]*)`", PAGES[page])
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "training/weights/README.md"])
def test_links_resolve(page: str) -> None:
    """Links of the pages in docs/ are checked by `mkdocs build`."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[page]):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors


def test_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 160


def test_network_table() -> None:
    rows = table_rows(section("README.md", "Networks"))
    assert {row["network"].strip("`") for row in rows} == NETWORKS.keys()
    for row in rows:
        with FakeTensorMode(), FlopCounterMode(display=False) as counter:
            network = build_network(row["network"].strip("`"))
            image = torch.zeros(1, 3, 384, 512)
            network(image, image)
        assert row["GFLOP"] == f"{counter.get_total_flops() / 1e9:.1f}"
        assert row["parameters"] == f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M"


def test_shipped_weights_table() -> None:
    rows = {row["network"].strip("`"): row for row in table_rows(PAGES["docs/weights.md"])}
    files = {file.stem: file for file in (ROOT / "training/weights").glob("*.safetensors")}
    assert rows.keys() == files.keys()
    for name, file in files.items():
        metadata = load_weights(file).metadata
        assert metadata["steps"] == rows[name]["steps"].replace(",", "")
        assert f"{json.loads(metadata['epe'])['synthetic']:.2f}" == rows[name]["held-out EPE, px"]


def test_data_sets_table() -> None:
    text = PAGES["docs/datasets.md"]
    rows = table_rows(text[: text.index("## Layouts")])
    layouts = table_rows(section("docs/datasets.md", "Layouts"))
    assert [row["name"] for row in layouts] == [row["name"] for row in rows]
    assert [row["name"].strip("`") for row in rows] == [*DATA_SETS]
    for row in rows:
        data_set = DATA_SETS[row["name"].strip("`")]
        assert row["splits"] == ", ".join(data_set.splits)
        assert row["passes"] == ", ".join(data_set.passes)
        without_flow = "none, without flow" if data_set in (FRAMES, VIDEO) else None
        default = without_flow or data_set.evaluated or "all pairs with flow"
        assert row["evaluated by default"] == default
        assert row["padding"] == data_set.padding


def test_figures_table() -> None:
    rows = table_rows(section("docs/evaluation.md", "Figures"))
    listed = ", ".join(row["figure"] for row in rows).split(", ")
    assert listed == [figure.title for figure in FIGURES if figure.unit != "ms"]


def measured(file: str) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the cells that a table has to show, by method, runtime and size."""
    cells = {}
    for row in json.loads((ROOT / file).read_text())["rows"]:
        if row["status"] != "ok" or row["batch"] != 1:
            continue
        milliseconds, error, distance = (
            row["latency_ms"]["p50"],
            row["epe"],
            row["epe_vs_reference"],
        )
        decimals = min(max(0, 2 - math.floor(math.log10(milliseconds))), 4)
        is_opencv = row["backend"] == "opencv"
        method = row["network"] if is_opencv else f"{row['network']} {row['precision']}"
        cells[method, row["backend"], f"{row['height']}x{row['width']}"] = {
            "ms": f"{milliseconds:.{decimals}f}",
            "EPE px": MISSING if error is None else f"{error:.2f}",
            "distance px": "" if distance is None else f"{distance:.2g}",
        }
    return cells


def marked_sections() -> list[object]:
    """Sections that begin with ``<!-- results: FILE -->``: the file, and the text after it."""
    return [
        pytest.param(*marked.split("\n## ")[0].split(" -->", maxsplit=1), id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, marked in enumerate(text.split("<!-- results: ")[1:])
    ]


@pytest.mark.parametrize(("file", "text"), marked_sections())
def test_tables_show_what_was_measured(file: str, text: str) -> None:
    cells = measured(file)
    for row in table_rows(text):
        if "network" in row:  # a column for each runtime and precision
            for column, method in NETWORK_COLUMNS.items():
                key = f"{row['network'].strip('`')} {method[1]}", method[0], "384x512"
                assert row.get(column) in (None, cells.get(key, NOT_MEASURED)["ms"]), key
            continue
        method, runtime = row["method"].replace("`", ""), RUNTIMES[row["runtime"]]
        if runtime == "opencv":
            method = method.lower().replace(" ", "_")
        for column in row.keys() - {"method", "runtime"}:
            kind, size = column.split(", ")
            cell = cells.get((method, runtime, size), NOT_MEASURED)
            assert row[column] == cell[kind], (method, runtime, column)


@pytest.mark.parametrize(("file", "text"), marked_sections())
def test_summaries_are_of_the_same_run(file: str, text: str) -> None:
    lines = "".join(blocks("text", text)).splitlines()
    assert {*lines} <= {*json.loads((ROOT / file).read_text())["summary"]}


def test_storage_tables_show_what_was_measured() -> None:
    tables = EVERYTHING.split("<!-- storage: ")[1:]
    assert tables
    for table in tables:
        marker, text = table.split(" -->", maxsplit=1)
        file, name = marker.split(", ", maxsplit=1)
        sets = {one["name"]: one for one in json.loads((ROOT / file).read_text())["sets"]}
        measured_rows = [dict(zip(COLUMNS, row, strict=True)) for row in rows(sets[name])]
        shown = table_rows(text)
        assert shown
        assert [row for row in shown if row not in measured_rows] == []


def test_results_are_of_committed_code() -> None:
    for file in (ROOT / "bench/results").glob("*.json"):
        assert "dirty" not in json.loads(file.read_text())["environment"]["commit"], file.name


def test_results_name_no_folder_of_the_machine_they_were_measured_on() -> None:
    for file in (ROOT / "bench/results").glob("*.json"):
        assert not re.findall(r"(?<![\w.:*/])/\w+/\w[^\"]*", file.read_text()), file.name
