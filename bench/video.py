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
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import engine
from bench import cli, environment
from engine.errors import EngineError, InputError
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


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table and write the JSON file; return 0 or 2 (the request cannot be met)."""
    options = _parser().parse_args(arguments)
    try:
        if options.alone:
            print(f"; {ALONE[options.alone](options.clip, options.threads):.3f} s, ")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            clip = options.clip
            if options.make is not None:
                clip = Path(folder) / "clip.mp4"
                make_clip(clip, *options.make)
            rows = _measure(clip, options, Path(folder))
        result = {
            "schema": 1,
            "kind": "video",
            "environment": environment.describe(threads=options.threads),
            "clip": "{}x{}x{}".format(*options.make) if options.make else options.clip.name,
            "rows": rows,
        }
        cli.deliver(result, options.json, lambda: print("\n".join(_table(rows))))
    except (EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def decode(clip: Path, threads: int) -> float:
    """Return the seconds that decoding to RGB takes."""
    with VideoReader(clip, threads=threads) as frames:
        started = time.perf_counter()
        for _ in frames:
            pass
        return time.perf_counter() - started


def infer(clip: Path, threads: int) -> float:
    """Return the seconds that inference takes, of as many pairs, from frames in memory."""
    with VideoReader(clip, threads=threads) as frames:
        images = [frame.image for frame, _ in zip(frames, range(_CACHED), strict=False)]
        count = frames.expected_frames or 0
    turns = [*images, *images[-2:0:-1]]  # forth and back
    with engine.load(threads=threads) as flow_engine:
        source = (turns[index % len(turns)] for index in range(count))
        started = time.perf_counter()
        for _ in flow_engine.stream(source):
            pass
        return time.perf_counter() - started


ALONE = {"decode": decode, "infer": infer}


def make_clip(path: Path, height: int, width: int, frames: int) -> None:
    """Write a video of a texture that pans and turns, in H.264."""
    import av
    import cv2

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    texture = cv2.resize(noise, (width * 3 // 2, height * 3 // 2), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "fast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 3 * np.sin(index / 25), 1.2)
            matrix[:, 2] += np.sin(index / 40) * 40, np.cos(index / 30) * 30
            turned = cv2.warpAffine(texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
            image = turned.astype(np.uint8, copy=False)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


def _measure(clip: Path, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run every row in each round; return their medians."""
    common = ["--threads", str(options.threads)]
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


def clip_size(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([0-9]{2,5})x([0-9]{2,5})x([0-9]{1,6})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected HxWxFRAMES")
    height, width, frames = (int(part) for part in match.groups())
    if height % 2 or width % 2 or frames < 3:
        raise argparse.ArgumentTypeError(f"{text!r}: expected even sides and 3 frames or more")
    return height, width, frames


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("clip", type=Path, nargs="?", help="video file")
    source.add_argument("--make", type=clip_size, metavar="HxWxN", help="make a clip of N frames")
    parser.add_argument(
        "--outputs",
        type=names_among(OUTPUTS, "output"),
        default=["output"],
        metavar="A,B",
        help=f"options to measure, each alone: {', '.join(OUTPUTS)} (default: output)",
    )
    parser.add_argument("--rounds", type=positive_int, default=3)
    parser.add_argument("--threads", type=positive_int, default=available_threads())
    parser.add_argument("--json", type=Path, metavar="FILE", help="result to write")
    parser.add_argument("--alone", choices=ALONE, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    run(main)
