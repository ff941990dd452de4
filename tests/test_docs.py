"""The README and docs/: code and commands run, links resolve, tables show what was measured."""

import importlib
import importlib.util
import json
import math
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.errors import EngineError
from engine.images import write_image
from training.config import parse
from training.networks import NETWORKS, build_network
from training.synthetic.render import SyntheticPairs
from training.weights import METADATA_KEYS, load_weights, save_weights

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "training/weights/README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
}
EVERYTHING = "\n".join(PAGES.values())

# Appended to commands that would take minutes: the same command, less of it.
SMALL_BUILD = "--targets onnxruntime --size 64x128"
SMALL_INT8 = "--calibration pairs --gate pairs --max-epe-increase 1000%"
SHORTER = {
    "bench.compare": "--list",
    "bench.correlation": "--channels 8 --size 6x8 --max-displacement 2 --seconds 0.01",
    "export.build_engine": SMALL_BUILD,
    "training.synthetic": "--pairs 1 --size 64x64",
    "training.train": "--steps 2 --batch-size 2 --height 64 --width 64 --pool 4 --device cpu",
}
# Not run, but checked below.
OTHER_COMMANDS = ("make ", "pip ", "cmake ", "benchmark_app ")


def blocks(language: str, text: str) -> list[str]:
    """Fenced blocks, also those that are indented in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands(text: str) -> list[str]:
    joined = "\n".join(blocks("sh", text)).replace("\\\n", " ")
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line]


def python_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, block in enumerate(blocks("python", text))
    ]


def module_commands() -> list[str]:
    """Each once, in the order of the pages; those of weights.md are only parsed, see below."""
    texts = [text for page, text in PAGES.items() if page != "docs/weights.md"]
    found = [command for text in texts for command in commands(text)]
    return list(dict.fromkeys(command for command in found if command.startswith("python -m ")))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages assume."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("engine", "training"):
        (folder / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    for name in ("frame1.png", "frame2.png"):
        write_image(folder / name, rng.integers(0, 256, (64, 96, 3), np.uint8))
    run_module("training.synthetic", ["--pairs", "2", "--size", "192x256", "-o", f"{folder}/pairs"])
    metadata = dict.fromkeys(METADATA_KEYS, "seeded random") | {
        "network": "flownetc_slim", "normalisation": "fixed_mean", "epe": "{}"
    }  # fmt: skip
    weights = folder / "runs" / "flownetc" / "flownetc_slim.safetensors"
    save_weights(weights, build_network("flownetc_slim", seed=0).half().state_dict(), metadata)
    return folder


@pytest.mark.parametrize("block", python_blocks())
def test_python(block: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    if needed := re.match(r"# needs: (\w+)\n", block):
        try:
            engine.load(backend=needed[1]).close()
        except EngineError as error:
            pytest.skip(f"{needed[1]} does not run here: {error}")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 64, 96, 3), np.uint8)
    names: dict[str, object] = {"image1": frames[0], "image2": frames[1], "frames": frames}
    exec(compile(block, "<documentation>", "exec"), names)
    flow = names["flow"]
    assert isinstance(flow, np.ndarray)
    assert flow.shape == (64, 96, 2)
    assert flow.dtype == np.float32


def run_module(module: str, arguments: list[str]) -> object:
    """Call the ``main`` of ``python -m module`` in this process, which has imported PyTorch."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"no module {module}"
    if spec.submodule_search_locations is not None:
        module += ".__main__"
    return importlib.import_module(module).main(arguments)


@pytest.mark.parametrize("command", module_commands(), ids=lambda command: command[10:60])
def test_command_runs(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    few = {"synthetic": [SyntheticPairs(64, 64).render(2, 0)]}
    monkeypatch.setattr("training.train.open_validation", lambda *_: few)
    module, *arguments = shlex.split(command.removeprefix("python -m "))
    arguments += shlex.split(SHORTER.get(module, ""))
    if module == "export.build_engine" and {"int8", "auto"} & {*arguments}:
        arguments += shlex.split(SMALL_INT8)
    assert not run_module(module, arguments)


@pytest.mark.parametrize("command", commands(PAGES["docs/weights.md"]))
def test_training_command_of_shipped_weights_parses(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "training").symlink_to(ROOT / "training")
    monkeypatch.chdir(tmp_path)
    module, *arguments = shlex.split(command.removeprefix("python -m "))
    if module == "training.train":
        parse(arguments)
    else:
        assert not run_module(module, [*arguments, *shlex.split(SHORTER[module])])


def test_every_command_is_of_a_known_kind() -> None:
    kinds = ("python -m ", *OTHER_COMMANDS)
    assert [command for command in commands(EVERYTHING) if not command.startswith(kinds)] == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in commands(EVERYTHING) if line.startswith("make ")}
    named |= set(re.findall(r"`make ([a-z-]+)`", EVERYTHING))
    assert named
    assert named <= targets


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {
        name for names in re.findall(r"'\.\[([a-z,-]+)\]'", EVERYTHING) for name in names.split(",")
    }
    assert named
    assert named <= extras.keys()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section("docs/install.md", "Extras"), re.M)) == {
        *extras
    }


def test_networks_and_options_exist() -> None:
    named = {
        name
        for names in re.findall(r"--network ([a-z_,]+)", EVERYTHING)
        for name in names.split(",")
    }
    assert named
    assert named <= NETWORKS.keys()


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    names = re.findall(
        r"`((?:bench|docs|engine|export|kernels|tests|training)/[\w./-]*)`", PAGES[page]
    )
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "training/weights/README.md"])
def test_links_resolve(page: str) -> None:
    """Those among the pages of docs/ are checked by `mkdocs build --strict`."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[page]):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings
            }


def test_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 160


def section(page: str, title: str) -> str:
    return re.split(r"^#+ ", PAGES[page].partition(f" {title}\n")[2], maxsplit=1, flags=re.M)[0]


def table_rows(text: str) -> list[dict[str, str]]:
    """The first Markdown table of a text, each row by column title."""
    lines = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert lines is not None
    header, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in lines[0].splitlines()
    )
    return [dict(zip(header, row, strict=False)) for row in rows]


def test_network_table_is_true() -> None:
    rows = table_rows(section("README.md", "Networks"))
    assert {row["network"].strip("`") for row in rows} == NETWORKS.keys()
    for row in rows:
        network = build_network(row["network"].strip("`"), seed=0)
        image = torch.zeros(1, 3, 64, 64)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image, image)
        operations = counter.get_total_flops() * (384 * 512) / (64 * 64)
        assert row["parameters"] == f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M"
        assert row["GFLOP"] == f"{operations / 1e9:.1f}"


def test_shipped_weights_are_the_ones_described() -> None:
    rows = table_rows(PAGES["docs/weights.md"])
    folder = ROOT / "training" / "weights"
    assert {row["network"].strip("`") for row in rows} == {
        file.stem for file in folder.glob("*.safetensors")
    }
    for row in rows:
        metadata = load_weights(folder / f"{row['network'].strip('`')}.safetensors").metadata
        assert metadata["steps"] == row["steps"].replace(",", "")
        assert f"{json.loads(metadata['epe'])['synthetic']:.2f}" == row["held-out EPE, px"]


RUNTIMES = {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime", "PyTorch eager": "pytorch-eager"}
MISSING = "–"  # noqa: RUF001 - an en dash is meant


def measured(file: str) -> dict[tuple[str, str, str], dict[str, object]]:
    """By method, runtime and size, the cells that a table has to show."""
    cells = {}
    for row in json.loads((ROOT / file).read_text())["rows"]:
        if row["status"] != "ok" or row["batch"] != 1:
            continue
        milliseconds = row["latency_ms"]["p50"]
        decimals = min(max(0, 2 - math.floor(math.log10(milliseconds))), 4)
        shown = {"ms": f"{milliseconds:.{decimals}f}"}
        shown["EPE px"] = MISSING if row["epe"] is None else f"{row['epe']:.2f}"
        distance = row["epe_vs_reference"]
        shown["distance px"] = "" if distance is None else f"{distance:.2g}"
        method = (
            row["network"] if row["backend"] == "opencv" else f"{row['network']} {row['precision']}"
        )
        cells[method, row["backend"], f"{row['height']}x{row['width']}"] = shown
    return cells


def results_tables() -> list[object]:
    return [
        pytest.param(*marked.split("\n## ")[0].split(" -->", maxsplit=1), id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, marked in enumerate(text.split("<!-- results: ")[1:])
    ]


@pytest.mark.parametrize(("file", "text"), results_tables())
def test_tables_show_what_was_measured(file: str, text: str) -> None:
    cells = measured(file)
    for row in table_rows(text) if "|---" in text else []:
        if "CPU ms" in row:  # the README's networks
            key = f"{row['network'].strip('`')} int8", "openvino", "384x512"
            shown = cells.get(key, {"ms": MISSING, "EPE px": MISSING})
            assert (row["CPU ms"], row["EPE px"]) == (shown["ms"], shown["EPE px"]), key
            continue
        method = row["method"].replace("`", "")
        if row["runtime"] == "OpenCV":
            method = method.lower().replace(" ", "_")
        for column, cell in row.items():
            kind, _, size = column.partition(", ")
            if size:
                key = method, RUNTIMES.get(row["runtime"], "opencv"), size
                assert (
                    cell
                    == cells.get(key, dict.fromkeys(("ms", "EPE px", "distance px"), MISSING))[kind]
                ), key


@pytest.mark.parametrize(("file", "text"), results_tables())
def test_summaries_are_of_the_same_run(file: str, text: str) -> None:
    lines = "".join(blocks("text", text)).splitlines()
    assert set(lines) <= {*json.loads((ROOT / file).read_text()).get("summary", [])}


def test_results_are_of_committed_code() -> None:
    for file in (ROOT / "bench" / "results").glob("*.json"):
        assert "dirty" not in json.loads(file.read_text())["environment"]["commit"], file.name
