"""Throughput of ``flow extract`` by its number of workers, on real processes.

    python -m bench.bulk --workers 1,2 --rounds 3
    python -m bench.bulk clips --json build/bulk.json

Each row extracts all clips into an empty folder; the rows take turns, and medians over the rounds
are shown. Row 0 is the same work in this process, without Ray. Without a folder, clips are made: a
texture that pans and turns, in H.264. ``flows/s`` counts from when each worker has finished its
first clip, so neither Ray's start nor the engine's counts; ``seconds`` is all of it.
"""

import argparse
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import engine
from bench import cli
from bench.clips import clip_size, make_clip
from engine.bulk import cluster, extraction, plan
from engine.bulk.cluster import Resources
from engine.bulk.formats import Settings
from engine.bulk.plan import Shard
from engine.bulk.worker import Done, Worker
from engine.bundle.manifest import MANIFEST_FILE
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.errors import InputError
from engine.store.levels import DEFAULT_STEP
from engine.system.argument_parser import RaisingParser
from engine.system.argument_types import int_between, names, positive_int
from engine.system.command import run
from engine.system.files import sha256_of
from engine.system.progress import track
from engine.video.clips import clips_in


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the JSON file; return 0 or 2 (the request cannot be met)."""
    return cli.reported(lambda: _compare(_parser().parse_args(arguments)))


def _compare(options: argparse.Namespace) -> None:
    network = cli.network_of(options)
    with tempfile.TemporaryDirectory() as folder:
        clips = options.clips
        if clips is None:
            clips = Path(folder) / "clips"
            clips.mkdir()
            for index in range(options.count):
                make_clip(clips / f"{index}.mp4", *options.make)
        rows = _measure(clips, options, network, Path(folder))
    name = str(options.clips or "{} of {}x{}x{}".format(options.count, *options.make))
    found = {"clips": name, "network": network, "rows": rows}
    cli.deliver_rows("bulk", found, _table(rows), options)


def _measure(
    clips: Path, options: argparse.Namespace, network: str, folder: Path
) -> list[dict[str, Any]]:
    found = plan.measure(path.absolute() for path in clips_in([str(clips)]))
    if len(found) <= max(options.workers):
        raise InputError(
            f"{clips} has {len(found)} clips for {max(options.workers)} workers; expected more. "
            "Give fewer --workers."
        )
    shards = plan.extended([], found, 1)  # one for each clip, so that no worker waits
    bundle = (options.bundle or DEFAULT_BUNDLE).absolute()
    settings = Settings(
        *("store", 1, 1, None, 1, DEFAULT_STEP, 512), sha256_of(bundle / MANIFEST_FILE), network
    )
    load = partial(engine.load, bundle, threads=1, trust=options.trust)
    runs: dict[int, list[dict[str, float]]] = {workers: [] for workers in options.workers}
    for turn, workers in enumerate(track(options.workers * options.rounds, "measuring")):
        worker = Worker(folder / str(turn), settings, load, run="bench")
        runs[workers].append(_extract(shards, workers, worker))
    return [
        {"workers": workers, **{key: median(run[key] for run in each) for key in each[0]}}
        for workers, each in runs.items()
    ]


def _extract(shards: Sequence[Shard], workers: int, worker: Worker) -> dict[str, float]:
    started = time.perf_counter()
    with extraction.opened(worker.folder, {}, force=False):
        times, flows = [], []
        with closing(_processed(shards, worker, workers)) as processed:
            for done in processed:
                if done.row["status"] != "ok":
                    raise InputError(done.row["status"])
                times.append(time.perf_counter())
                flows.append(done.row["flows"])
    busy = max(1, workers)  # as many clips are done when all have begun their second
    return {
        "seconds": times[-1] - started,
        "flows_per_second": sum(flows[busy:]) / (times[-1] - times[busy - 1]),
    }


def _processed(
    shards: Sequence[Shard], worker: Worker, workers: int
) -> Generator[Done, None, None]:
    if workers:
        yield from cluster.process_all(shards, worker, Resources(workers, threads=1))
    else:
        for shard in shards:
            yield from worker.process(shard)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'workers':>7}{'seconds':>10}{'flows/s':>10}{'per worker':>12}"]
    for row in rows:
        rate = row["flows_per_second"]
        lines.append(
            f"{row['workers']:7}{row['seconds']:10.1f}{rate:10.1f}"
            f"{rate / max(1, row['workers']):12.1f}"
        )
    return lines


def _worker_counts(text: str) -> list[int]:
    return [int_between(0, 999)(name) for name in names(text)]


def _parser() -> RaisingParser:
    parser = cli.rows_parser("bench.bulk", __doc__)
    parser.set_defaults(threads=1)  # of each worker
    add = parser.add_argument
    # fmt: off
    add("clips", type=Path, nargs="?", help="folder of clips")
    add("--make", type=clip_size, default=(384, 512, 50), metavar="HxWxN",
        help="height, width and frames of a made clip (default: 384x512x50)")
    add("--count", type=positive_int, default=16, metavar="N",
        help="number of made clips (default: 16)")
    add("--workers", type=_worker_counts, default=[0, 1, 2], metavar="A,B",
        help="numbers of workers, one row each (default: 0,1,2)")
    cli.add_bundle_options(parser)
    add("--rounds", type=positive_int, default=3, metavar="N", help="default: 3")
    # fmt: on
    return parser


if __name__ == "__main__":
    run(main)
