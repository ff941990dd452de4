"""What ``flow video`` costs beside decoding and inference, and its memory.

    python -m bench.video clip.mp4 --outputs output,flow --rounds 5
    python -m bench.video --make 1080x1920x300 --json build/video.json

Each row is a process of its own; the rows take turns, and medians over the rounds are compared.
``seconds`` is what the loop over the frames takes, without starting Python and opening the engine.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import engine
from bench import cli, environment
from bench.clips import clip_size, make_clip
from engine.errors import InputError
from engine.system.argument_parser import RaisingParser
from engine.system.argument_types import names_among, positive_int
from engine.system.command import run
from engine.system.progress import track
from engine.system.threads import available_threads
from engine.video.reader import VideoReader

# Options of `flow video` and what they write; each is measured alone.
OUTPUTS = {
    "output": "colours.mp4",
    "side-by-side": "side.mp4",
    "overlay": "overlay.mp4",
    "arrows": "arrows.mp4",
    "flow": "flow",
    "store": "flow.zarr",
}
_CACHED = 16  # frames in memory, for inference alone
_SECONDS = re.compile(r"; ([0-9.]+) s, ")  # in the summary of the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the JSON file; return 0 or 2 (the request cannot be met)."""
    return cli.reported(lambda: _compare(_parser().parse_args(arguments)))


def _compare(options: argparse.Namespace) -> None:
    if options.alone:
        print(f"; {ALONE[options.alone](options):.3f} s, ")
        return
    network = cli.network_of(options)
    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip
        if options.make is not None:
            clip = Path(folder) / "clip.mp4"
            make_clip(clip, *options.make)
        rows = _measure(clip, options, Path(folder))
    name = "{}x{}x{}".format(*options.make) if options.make else options.clip.name
    found = {"clip": name, "network": network, "rows": rows}
    cli.deliver_rows("video", found, _table(rows), options)


def decode(options: argparse.Namespace) -> float:
    """Return the seconds that decoding to RGB takes."""
    with VideoReader(options.clip, threads=options.threads) as frames:
        started = time.perf_counter()
        for _ in frames:
            pass
        return time.perf_counter() - started


def infer(options: argparse.Namespace) -> float:
    """Return the seconds that inference takes, of as many pairs, from frames in memory."""
    with VideoReader(options.clip, threads=options.threads) as frames:
        images = [frame.image for frame, _ in zip(frames, range(_CACHED), strict=False)]
        count = frames.expected_frames or 0
    turns = [*images, *images[-2:0:-1]]  # forth and back
    loading = {"threads": options.threads, "trust": options.trust}
    with engine.load(options.bundle, **loading) as flow_engine:
        source = (turns[index % len(turns)] for index in range(count))
        started = time.perf_counter()
        for _ in flow_engine.stream(source):
            pass
        return time.perf_counter() - started


ALONE = {"decode": decode, "infer": infer}


def _measure(clip: Path, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run every row in each round; return their medians."""
    common = ["--threads", str(options.threads)]
    for name in ("bundle", "trust"):
        if value := getattr(options, name):
            common += [f"--{name}", str(value.absolute())]
    commands = {name: ["bench.video", str(clip), "--alone", name, *common] for name in ALONE} | {
        f"flow video --{name}": [
            *("engine", "video", str(clip), f"--{name}", str(folder / OUTPUTS[name]), "--force"),
            *common,
        ]
        for name in options.outputs
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for turn in track(list(commands) * options.rounds, "measuring"):
        runs[turn].append(_run(commands[turn]))
    rows = [
        {"name": name, **{key: median(run[key] for run in each) for key in each[0]}}
        for name, each in runs.items()
    ]
    alone = np.sum([[run["seconds"] for run in runs[name]] for name in ALONE], axis=0)
    for row, each in zip(rows, runs.values(), strict=True):
        row["ratio"] = float(np.median([run["seconds"] for run in each] / alone))
    return rows


def _run(command: list[str]) -> dict[str, float]:
    """Run a module; return wall and CPU seconds and the peak of its memory in MiB."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        env=environment.child_environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    found = _SECONDS.search(output)
    if process.returncode or found is None:
        raise InputError(
            f"{' '.join(command)} failed with status {process.returncode}; its message is above."
        )
    return {
        "seconds": float(found[1]),
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'':28}{'seconds':>9}{'CPU s':>9}{'peak MiB':>10}{'/ (decode + infer)':>20}"]
    for row in rows:
        lines.append(
            f"{row['name']:28}{row['seconds']:9.2f}{row['cpu_seconds']:9.2f}"
            f"{row['peak_mib']:10.0f}{row['ratio']:20.3f}"
        )
    return lines


def _parser() -> RaisingParser:
    parser = cli.rows_parser("bench.video", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    add = parser.add_argument
    # fmt: off
    source.add_argument("clip", type=Path, nargs="?", help="video file")
    source.add_argument("--make", type=clip_size, metavar="HxWxN", help="make a clip of N frames")
    add("--outputs", type=names_among(OUTPUTS, "output"), default=["output"], metavar="A,B",
        help=f"options to measure, each alone: {', '.join(OUTPUTS)} (default: output)")
    cli.add_bundle_options(parser)
    add("--rounds", type=positive_int, default=3, metavar="N", help="default: 3")
    add("--threads", type=positive_int, default=available_threads(), metavar="N",
        help="CPU threads; default: all CPUs")
    add("--alone", choices=ALONE, help=argparse.SUPPRESS)
    # fmt: on
    return parser


if __name__ == "__main__":
    run(main)
