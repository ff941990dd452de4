"""Evaluate a bundle on published data sets, by their own protocols.

python -m bench.evaluate --data sintel:DIR --pass clean,final
python -m bench.evaluate --bundle build/raft --data kitti2015:DIR --report kitti.html
python -m bench.evaluate --data sintel:DIR --split test --pass clean,final --write submission
"""

import hashlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from bench.cli import console, save_json
from bench.evaluation.checkpoint import Checkpoint
from bench.evaluation.options import Options, parse_options
from bench.evaluation.page import write_report
from bench.evaluation.pictures import worst_pictures
from bench.evaluation.results import result_of, worst_images
from bench.evaluation.run import TimedEngine, evaluate_pairs
from bench.evaluation.submission import check_submission
from bench.evaluation.subsets import Subset, find_subsets
from bench.evaluation.table import terminal_table
from engine.bundle.manifest import MANIFEST_FILE
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.engine import FlowEngine
from engine.errors import EngineError
from engine.system.argument_parser import UsageError
from engine.system.command import run
from engine.system.files import sha256_of
from engine.system.threads import available_threads

WORST = 3  # images of each subset that are named and shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 2 (the request cannot be met) or 130 (interrupted)."""
    try:
        options = parse_options(arguments)
        subsets = _checked_subsets(options)
        with engine.load(**options.loading) as flow_engine:
            _evaluate(options, subsets, TimedEngine(flow_engine))
    except (UsageError, EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _checked_subsets(options: Options) -> list[Subset]:
    subsets = find_subsets(
        options.data,
        splits=options.splits,
        passes=options.passes,
        padding=options.padding,
        limit=options.limit,
    )
    if options.write is not None:
        check_submission(subsets, options.format)
    for subset in subsets:
        if options.write is None and all(pair.flow is None for pair in subset.pairs):
            raise UsageError(
                f"{subset.title} has no published flow: nothing to compare with. Add --write DIR "
                "to write the flows, or choose another --split."
            )
    return subsets


def _evaluate(options: Options, subsets: list[Subset], timed: TimedEngine) -> None:
    checkpoint = Checkpoint(options.checkpoint, _request(subsets, timed.engine, options))
    if checkpoint.entries:
        print(f"continuing after {len(checkpoint.entries)} pairs of {checkpoint.path}")
    try:
        evaluate_pairs(timed, subsets, checkpoint, write=options.write, format=options.format)
        threads = options.loading["threads"] or available_threads()
        result = result_of(subsets, checkpoint.entries, timed.engine, threads=threads)
        result["method"]["iterations"] = _iterations(timed.engine, options)
        _save(result, options, subsets, timed)
    except BaseException:
        if checkpoint.path is not None and checkpoint.entries:
            print(
                f"{len(checkpoint.entries)} finished pairs are kept in {checkpoint.path}; the same "
                "command continues after them",
                file=sys.stderr,
            )
        raise
    checkpoint.remove()
    # After the files: a closed pipe must not lose them.
    _print(result, options)


def _request(
    subsets: Sequence[Subset], flow_engine: FlowEngine, options: Options
) -> dict[str, Any]:
    """Return what the result of a pair depends on."""
    bundle = Path(options.loading["bundle"] or DEFAULT_BUNDLE)
    images = (pair.image1 for subset in subsets for pair in subset.pairs)
    files = [str(image.resolve() if isinstance(image, Path) else image) for image in images]
    return {
        "data": [f"{subset.title}, padding {subset.padding}" for subset in subsets],
        "bundle": sha256_of(bundle / MANIFEST_FILE)[:16],
        "backend": flow_engine.backend.name,
        "iterations": _iterations(flow_engine, options),
        "pairs": hashlib.sha256("\n".join(files).encode()).hexdigest()[:16],
        "write": None if options.write is None else [str(options.write), options.format],
    }


def _iterations(flow_engine: FlowEngine, options: Options) -> int | None:
    """Return the number of updates or passes; None: the network is applied once."""
    own = flow_engine.manifest.iterations
    return None if own is None else int(options.loading["iterations"] or own)


def _save(
    result: dict[str, Any], options: Options, subsets: Sequence[Subset], timed: TimedEngine
) -> None:
    if options.json is not None:
        save_json(result, options.json)
    if options.report is not None:
        pictures = worst_pictures(result, subsets, timed, count=WORST)
        write_report(result, pictures, options.report)


def _print(result: dict[str, Any], options: Options) -> None:
    method = result["method"]
    updates = f", {method['iterations']} iterations" if method["iterations"] else ""
    print(
        f"{method['network']} {method['precision']}{updates}, {method['backend']} "
        f"{method['runtime_version']} on {method['device']}; peak memory "
        f"{method['peak_memory_mb']:.0f} MB"
    )
    console(width=124).print(terminal_table(result["subsets"]))
    for subset in result["subsets"]:
        worst = worst_images(subset, WORST)
        named = ", ".join(f"{image['name']} {image['epe']:.2f} px" for image in worst)
        split = f" {subset['split']}" if subset["split"] else ""
        if named:
            print(f"worst      {subset['name']}{split}: {named}")
    for name, path in (
        ("flows", options.write),
        ("json", options.json),
        ("report", options.report),
    ):
        if path is not None:
            print(f"{name:10} {path}")


if __name__ == "__main__":
    # As an exception it ends the progress bar and keeps the finished pairs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run(main)
