"""The README's table of what a GPU reached, from the results of ``make gpu``.

python -m bench.gpu_table bench/results/nvidia-h200.json
"""

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cli import Parser, UsageError
from bench.environment import ROOT
from bench.harness.plan import BY_NAME
from bench.report.table import MISSING, Row, label, latency, number, three_digits
from engine.system.files import write_atomically

README = ROOT / "README.md"
BEGIN, END = "<!-- gpu-table:begin -->", "<!-- gpu-table:end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 (there is nothing to write, or no place for it)."""
    parser = Parser(
        prog="python -m bench.gpu_table", description="Write the README's GPU table from results."
    )
    parser.add_argument("results", type=Path, help="what bench.compare --json wrote on the GPU")
    try:
        write_table(README, parser.parse_args(arguments).results)
    except (UsageError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {README}")
    return 0


def environment_file(results: Path) -> Path:
    """Where the environment of some results is told, beside them."""
    return results.with_name(f"{results.stem}-environment.json")


def write_table(readme: Path, results: Path) -> None:
    """Replace what stands between the README's markers.

    Args:
        readme: the file.
        results: the JSON of ``bench.compare``; beside it may be that of the environment.

    Raises:
        ValueError: the README has not one of each marker, or the results have no row of a GPU.
        OSError: a file cannot be read or written.
    """
    text = readme.read_bytes().decode()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{readme}: expected {BEGIN} and, after it, {END}, once each")
    known = environment_file(results)
    trial = json.loads(known.read_bytes()).get("tensorrt_rtx") if known.is_file() else None
    written = table(json.loads(results.read_bytes()), trial, f"bench/results/{results.name}")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    write_atomically(readme, f"{before}{BEGIN}\n{written}{after}".encode())


def table(result: Mapping[str, Any], trial: Mapping[str, Any] | None, source: str) -> str:
    """The table in Markdown: rows of the GPU at the first size, one pair at a time.

    Args:
        result: of ``bench.compare``.
        trial: of ``bench.gpu_environment.portable_plan``, if it was made.
        source: the file's name, from the project's root.

    Raises:
        ValueError: no row ran on a GPU.
    """
    rows = [row for row in result["rows"] if BY_NAME[row["backend"]].gpu]
    measured = [row for row in rows if row["status"] == "ok" and row["batch"] == 1]
    if not measured:
        raise ValueError(f"{source}: no row ran on a GPU at batch 1; see its reasons")
    size = f"{measured[0]['height']}x{measured[0]['width']}"
    first = [row for row in measured if f"{row['height']}x{row['width']}" == size]
    networks = list(dict.fromkeys(row["network"] for row in first))
    first.sort(key=lambda row: (networks.index(row["network"]), latency(row) or 0))
    environment = result["environment"]
    caption = (
        f"{environment['gpu']} (name, driver, compute capability), {size}, one pair at a time; "
        "medians, end to end from uint8 arrays to float32 flow on the host, and on the device "
        "alone. `times PyTorch` compares device times with the fastest PyTorch row of the same "
        "network; the distance is to fp32 PyTorch. Commit "
        f"`{environment['commit']}`; all numbers are in [{source}]({source})."
    )
    lines = [
        *textwrap.wrap(caption, 115, break_long_words=False, break_on_hyphens=False),
        "",
        "| method | runtime | end to end ms | device ms | times PyTorch | EPE px | distance px |",
        "|---|---|---|---|---|---|---|",
        *(_line(row, first) for row in first),
        *_notes(first),
        *_reasons(rows),
        *_trial(trial),
    ]
    return "".join(f"{line}\n" for line in lines)


def _line(row: Row, rows: Sequence[Row]) -> str:
    pytorch = [
        ms
        for other in rows
        if other["network"] == row["network"] and BY_NAME[other["backend"]].kind == "pytorch"
        if (ms := _device_ms(other)) is not None
    ]
    device = _device_ms(row)
    times = min(pytorch) / device if pytorch and device else None
    distance = number(row["epe_vs_reference"])
    cells = (
        label(row),
        f"{row['backend']} {row['runtime_version']}",
        _shown(latency(row)),
        _shown(device),
        MISSING if times is None else f"{times:.2f}",
        _shown(number(row["epe"])),
        MISSING if distance is None else f"{distance:.2g}",
    )
    return f"| {' | '.join(cells)} |"


def _device_ms(row: Row) -> float | None:
    return number((row["device_ms"] or {}).get("p50"))


def _shown(value: float | None) -> str:
    return MISSING if value is None else three_digits(value)


def _notes(rows: Sequence[Row]) -> list[str]:
    """What is to be known of rows that were measured; the same words of several rows once."""
    notes = dict.fromkeys(_one_line(row["reason"]) for row in rows if row["reason"])
    return ["", *(f"- {note}" for note in notes)] if notes else []


def _reasons(rows: Sequence[Row]) -> list[str]:
    """What did not run, and what it said; the same words of several rows once."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row["status"] != "ok":
            said = (row["backend"], _one_line(row["reason"]))
            found.setdefault(said, {})[label(row)] = None
    lines = [f"- {name} ({', '.join(whose)}): {reason}" for (name, reason), whose in found.items()]
    return ["", "Not run:", "", *lines] if lines else []


def _trial(trial: Mapping[str, Any] | None) -> list[str]:
    if trial is None:
        return []
    if trial["status"] == "ok":
        said = f"runs there, {trial['mean_px']:.2g} px from fp32 PyTorch."
    else:
        how = "fails" if trial["status"] == "failed" else "does not run"
        said = f"{how} there: {_one_line(trial['said'])}"
    return ["", f"A portable plan of TensorRT for RTX {said}"]


def _one_line(text: str) -> str:
    # Comments would hide the end marker, and whatever else comes after them.
    return " ".join(str(text).split()).replace("<!--", "&lt;!--")


if __name__ == "__main__":
    sys.exit(main())
