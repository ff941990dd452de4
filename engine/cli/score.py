"""``flow score``: how much moves in each clip, for people who choose among many."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine
from engine.cli import common, inference
from engine.errors import EngineError, InputError, sentence
from engine.store.reader import FlowStore
from engine.store.writer import STORE_SUFFIX
from engine.system.argument_types import positive_int
from engine.system.progress import progress_bar
from engine.video.clips import clips_in, open_clip
from engine.video.score import ClipScore, score_clip, score_store

MAX_SIDE = 512

_EPILOG = f"""examples:
  flow score dance.mp4
  flow score clips --json > scores.jsonl
  flow score "raw/**/*.mov" --stride 5

A folder of pictures or a store, .zarr, is one clip; any other folder stands for the clips in it.
mean, median and p95 are of the motion from each frame to the next, in pixels of the clip's frames;
%diag is the mean as a share of the diagonal; moving is the share of the pixels that move by more
than 0.1 % of the diagonal; camera is the mean of the affine motion that most pixels share, object
the mean of what is left without it. Pairs of frames with a cut between do not count. Frames are
first downscaled to a longer side of {MAX_SIDE} px, or of --max-side.
exit status: 0 if every clip could be read, else 1"""

# The table: heading, key, format, factor.
_COLUMNS = (
    ("frames", "frames", "d", 1), ("mean", "mean_px", ".2f", 1), ("median", "median_px", ".2f", 1),
    ("p95", "p95_px", ".2f", 1), ("%diag", "mean", ".2f", 100), ("%moving", "moving", ".1f", 100),
    ("camera", "camera_px", ".2f", 1), ("object", "object_px", ".2f", 1),
)  # fmt: skip
_WIDTH = 8


def add_command(commands: common.Commands) -> None:
    """Add ``score`` to the parser's commands."""
    parser = common.add_command(
        commands, "score", run, help="measure how much moves in video clips", epilog=_EPILOG
    )
    parser.add_argument(
        "clips", nargs="+", metavar="IN", help="video file, folder, store, or pattern in quotes"
    )
    parser.add_argument(
        "--stride",
        type=positive_int,
        default=1,
        metavar="N",
        help="use every N-th frame; motion is then between those (default: 1)",
    )
    common.add_levels_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    inference.add_options(parser)
    parser.set_defaults(max_side=MAX_SIDE)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0 if every clip could be read."""
    failed = False
    # Frames are downscaled before inference, as cuts are found in the small ones.
    unlimited = argparse.Namespace(**{**vars(options), "max_side": None})
    with inference.open_engine(unlimited) as flow_engine:
        if not options.json:
            print(" ".join(name.rjust(_WIDTH) for name, *_ in _COLUMNS), "   cuts  clip")
        for entry in _entries(options, flow_engine):
            failed |= entry["status"] != "ok"
            # Complete lines, also of a run that is interrupted.
            if options.json:
                print(json.dumps(entry), flush=True)
            elif entry["status"] == "ok":
                print(_line(entry), flush=True)
            else:
                print(f"flow: {_fault(entry)}", file=sys.stderr)
    return int(failed)


def _entries(
    options: argparse.Namespace, flow_engine: engine.FlowEngine
) -> Iterator[dict[str, Any]]:
    for path in clips_in(options.clips):
        entry = {"file": common.printable(path), "status": "ok"}
        try:
            entry |= _score(path, options, flow_engine)
        except (EngineError, OSError) as error:
            entry["status"] = sentence(common.printable(error) or type(error).__name__)
        yield entry


def _score(
    path: Path, options: argparse.Namespace, flow_engine: engine.FlowEngine
) -> dict[str, Any]:
    if path.suffix.lower() == STORE_SUFFIX:
        return {"stride": 1, **_of_store(path, options.stride).to_json(), "notes": []}
    clip = open_clip(path, stride=options.stride, threads=options.threads, levels=options.levels)
    with clip as source:
        pairs = None if source.expected_frames is None else max(1, source.expected_frames - 1)
        with progress_bar(path.name, pairs) as advance:
            score = score_clip(
                *(source, flow_engine),
                max_side=options.max_side,
                stride=options.stride,
                progress=lambda: advance(None),
            )
        for fault in source.faults():
            print(f"flow: note: {common.printable(fault)}", file=sys.stderr)
        return {"stride": options.stride, **score.to_json(), "notes": source.faults()}


def _of_store(path: Path, stride: int) -> ClipScore:
    if stride != 1:
        raise InputError(
            f"{path} is a store of the flow from each frame to the next; expected --stride 1. "
            "Leave it out, or score the video."
        )
    store = FlowStore(path)
    with progress_bar(path.name, len(store)) as advance:
        return score_store(store, progress=lambda: advance(None))


def _fault(entry: dict[str, Any]) -> str:
    named = entry["file"] in entry["status"]
    return str(entry["status"] if named else f"{entry['file']}: {entry['status']}")


def _line(entry: dict[str, Any]) -> str:
    cells = [
        "-" if entry[key] is None else format(entry[key] * factor, spec)
        for _, key, spec, factor in _COLUMNS
    ]
    cells = [cell.rjust(_WIDTH) for cell in cells]
    cuts = "-" if entry["cuts"] is None else str(len(entry["cuts"]))
    return " ".join([*cells, cuts.rjust(6), f" {entry['file']}"])
