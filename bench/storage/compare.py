"""Compare ways to store flow: bytes, error, and milliseconds to write and to read a flow.

python -m bench.storage
python -m bench.storage --data synthetic --data kitti2015:DIR --frames dance.mp4 --json storage.json

``--json`` writes::

    {"schema": 1, "environment": {...}, as of ``bench.compare``,
     "sets": [{"name", "source", "flows", "sizes", "rows": [{...}, see ``bench.storage.measure``]}]}
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import engine
from bench.cli import add_bundle_options, console, deliver, output_file, reported
from bench.compare import CACHE
from bench.environment import describe
from bench.storage.flows import FlowSet, set_of_frames, sets_of_data
from bench.storage.table import table
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import positive_int
from engine.system.progress import progress_bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 or 2 (the request cannot be met)."""

    def measure_and_show() -> None:
        options = _parser().parse_args(arguments)
        result = compare(options)
        deliver(result, options.json, partial(_show, result))

    return reported(measure_and_show)


def _show(result: dict[str, Any]) -> None:
    for flow_set in result["sets"]:
        console(width=110).print(table(flow_set))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every method on every set; return the object that ``--json`` writes.

    Raises:
        UsageError: numcodecs or zfpy is not installed.
        EngineError: Flows cannot be read or computed.
    """
    try:
        from bench.storage.measure import measure
        from bench.storage.methods import methods
    except ImportError as error:
        raise UsageError(f"{error}; expected the extra: pip install '.[bench]'") from None
    environment = describe(threads=1)
    sets, rows = list(_flow_sets(options)), methods()
    with progress_bar("measuring", len(sets) * len(rows) * options.rounds) as progress:
        measured = [
            [
                row.to_json()
                for row in measure(
                    rows, one.flows, rounds=options.rounds, advance=lambda: progress(None)
                )
            ]
            for one in sets
        ]
    joined = [{**one.to_json(), "rows": found} for one, found in zip(sets, measured, strict=True)]
    return {"schema": 1, "environment": environment, "sets": joined}


def _flow_sets(options: argparse.Namespace) -> Iterator[FlowSet]:
    data = options.data or ([] if options.frames else ["synthetic"])
    with engine.load(options.bundle, trust=options.trust) as flow_engine:
        for name in data:
            yield from sets_of_data(name, flow_engine, limit=options.limit, cache=CACHE)
        for path in options.frames:
            yield set_of_frames(path, flow_engine, limit=options.limit)


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m bench.storage",
        description="Compare formats, stores and alternatives to their codec on true flow and on "
        "flow of a network.",
    )
    add = parser.add_argument
    # fmt: off
    add("--data", action="append", metavar="SOURCE",
        help="synthetic, motorcycle, or a data set, NAME:DIR: its true flow, and the network's "
        "flow of its pairs; repeatable; default: synthetic")
    add("--frames", action="append", type=Path, default=[], metavar="PATH",
        help="a video or a folder of pictures: the network's flow; repeatable")
    add_bundle_options(parser)
    add("--limit", type=positive_int, default=16, metavar="N", help="flows of a set; default: 16")
    add("--rounds", type=positive_int, default=5, metavar="N",
        help="times that everything is measured, of which the fastest counts; default: 5")
    add("--json", type=output_file, metavar="FILE", help="write all results")
    # fmt: on
    return parser
