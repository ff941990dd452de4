"""How many sessions `flow serve` holds: times of the flow, and the server's memory.

    python -m bench.serving --sessions 1,4,8 --fps 5 --seconds 30
    python -m bench.serving --size 448x1024 --serve "--window 5" --json build/serving.json

Each session sends frames at a steady rate and gets their flow; the clients share the machine with
the server. A row is held if every frame got its flow, and no queue grew.
"""

import argparse
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench import cli, environment
from bench.harness.stats import summarise
from bench.serving.sessions import run_sessions
from engine.errors import InputError
from engine.system.argument_parser import RaisingParser
from engine.system.argument_types import names, positive_float, positive_int, size
from engine.system.command import run
from engine.system.progress import track
from engine.system.threads import available_threads

_FRAMES = 4
# The last frames of a session take longer than this many periods where a queue grew.
_HELD_PERIODS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the JSON file; return 0 or 2 (the request cannot be met)."""
    return cli.reported(lambda: _compare(_parser().parse_args(arguments)))


def _compare(options: argparse.Namespace) -> None:
    with _server(options) as address:
        turns = track(options.sessions, "measuring")
        rows = [_measure(address, sessions, options) for sessions in turns]
    height, width = options.size
    found = {
        "size": f"{height}x{width}",
        "fps": options.fps,
        "serve": shlex.join(options.serve),
        "rows": rows,
    }
    cli.deliver_rows("serving", found, _table(rows), options)


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[str]:
    """Yield the address of a server in a process of its own."""
    height, width = options.size
    most = str(max(64, *options.sessions))
    command = [
        *(sys.executable, "-m", "engine", "serve", "--port", "0", "--warm-up", f"{height}x{width}"),
        *("--threads", str(options.threads), "--queue", most, "--sequences", most),
        *options.serve,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment.child_environment(), text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise InputError(f"{' '.join(command[1:])} failed; its message is above.")
        try:
            yield line.split()[-1].removesuffix("/v2")
        finally:
            process.terminate()


def _measure(address: str, sessions: int, options: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (_FRAMES, *options.size, 3), np.uint8))
    before = _figures(address)
    answers = run_sessions(address, sessions, options.fps, options.seconds, frames)
    after = _figures(address)
    pairs, batches = (
        after[f"flow_batch_pairs_{it}"] - before[f"flow_batch_pairs_{it}"]
        for it in ("sum", "count")
    )
    times = summarise(answers.milliseconds)
    late = times is None or times["p99"] > _HELD_PERIODS * 1e3 / options.fps
    return {
        "sessions": sessions,
        "held": not answers.failed and not late,
        "ms": times,
        "failed": answers.failed,
        "pairs_per_batch": pairs / batches if batches else None,
        "cpu_seconds_per_frame": (
            (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) / pairs
            if pairs
            else None
        ),
        "memory_mib": after["process_resident_memory_bytes"] / 2**20,
    }


def _figures(address: str) -> dict[str, float]:
    """Return the server's own figures, those without labels."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("sessions", "held", "p50 ms", "p99 ms", "failed", "pairs/batch", "CPU ms", "MiB")
    lines = ["".join(f"{head:>12}" for head in heads)]
    for row in rows:
        times = row["ms"] or {"p50": np.nan, "p99": np.nan}
        cells = (
            str(row["sessions"]),
            "yes" if row["held"] else "no",
            f"{times['p50']:.1f}",
            f"{times['p99']:.1f}",
            str(row["failed"]),
            f"{row['pairs_per_batch'] or np.nan:.2f}",
            f"{1e3 * (row['cpu_seconds_per_frame'] or np.nan):.1f}",
            f"{row['memory_mib']:.0f}",
        )
        lines.append("".join(f"{cell:>12}" for cell in cells))
    return lines


def _counts(text: str) -> list[int]:
    return [positive_int(name) for name in names(text)]


def _options(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no command line: {error}; expected options of flow serve"
        ) from None


def _parser() -> RaisingParser:
    parser = cli.rows_parser("bench.serving", __doc__)
    # fmt: off
    add = parser.add_argument
    add("--sessions", type=_counts, default=[1, 4, 8], metavar="A,B",
        help="clients at a time, one row each (default: 1,4,8)")
    add("--fps", type=positive_float, default=5.0, metavar="F",
        help="frames per second of each (default: 5)")
    add("--seconds", type=positive_float, default=20.0, metavar="S",
        help="how long each row takes (default: 20)")
    add("--size", type=size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--threads", type=positive_int, default=available_threads(), metavar="N",
        help="of the server")
    add("--serve", type=_options, default=[], metavar="OPTIONS",
        help="further options of flow serve, in quotes")
    # fmt: on
    return parser


if __name__ == "__main__":
    run(main)
