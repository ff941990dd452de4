"""``flow extract``: the flow of thousands of clips, by several processes or a cluster."""

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import engine
from engine.bulk import cluster, extraction, plan
from engine.bulk.formats import FORMATS, Settings
from engine.bulk.rate import Rate
from engine.bulk.worker import Done, Worker
from engine.bundle.manifest import MANIFEST_FILE, read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.cli import clip_list, common, inference, score, stores
from engine.cli.outputs import OutputNames
from engine.system.argument_types import non_negative_float, positive_int
from engine.system.files import sha256_of
from engine.system.progress import progress_bar
from engine.system.threads import available_threads

_EPILOG = """examples:
  flow extract clips -o flows
  flow extract clips.txt -o flows --workers 8 --every 5
  find /data -name "*.mp4" | flow extract - -o /data/scores --format score
  flow extract clips -o /shared/flows --address auto

A folder of pictures is one clip; any other folder stands for the videos and folders in it, in
natural order. Lines of a list are such names too, relative to the current folder. Each clip is
opened once and decoded forward; pairs of frames are of one clip.
The same command goes on after an interruption of any kind: shards that are finished are checked by
their SHA-256 and kept, clips that are new are added, those whose files have changed are computed
again. clips.jsonl has a line for each clip with its status, once all are done.
exit status: 0 if every clip could be read, 1 if not or after another error"""

# Options that do not change what is written, or that the plan has.
_NOT_OF_THE_JOB = (
    *("run", "input", "output", "force", "retry", "workers", "threads", "gpus", "address"),
    *("shard_size", "bundle", "trust", "device"),
)
_GPU_BACKENDS = ("tensorrt", "onnxruntime-cuda")
_MOST_NOTES = 20
_SILENCE = 60  # seconds between two lines about the progress where there is no terminal


def add_command(commands: common.Commands) -> None:
    """Add ``extract`` to the parser's commands."""
    parser = common.add_command(
        commands,
        "extract",
        run,
        help="compute the flow, or the scores, of many clips in several processes",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    # fmt: off
    add("input", type=Path, metavar="LIST|DIR",
        help="text file with the name of a clip on each line, - for stdin, or a folder; a video "
        "file is taken as one clip")
    add("-o", "--output", type=Path, metavar="STORE", required=True, help="folder to write")
    add("--format", choices=FORMATS, default="store",
        help="what is written: compressed stores (default), KITTI's 16-bit png, or the table of "
        "flow score")
    add("--every", type=positive_int, default=1, metavar="N",
        help="compute only every N-th pair of frames (default: 1)")
    add("--stride", type=positive_int, default=1, metavar="N",
        help="use every N-th frame; flow is then between those (default: 1)")
    add("--shard-size", type=positive_int, default=64, metavar="MIB",
        help="size of the clips of a shard, the most that an interruption costs a worker "
        "(default: 64, or less to give each worker four shards)")
    add("--workers", type=positive_int, metavar="N",
        help="processes, each with the engine open (default: one for each --threads CPUs)")
    add("--address", metavar="HOST:PORT",
        help="Ray cluster that has the workers, auto for that of this machine (default: none); "
        "clips and STORE must be on a file system that all its machines share")
    add("--gpus", type=non_negative_float, metavar="N",
        help="GPUs of a worker, or a share of one (default: 1 for a backend of GPUs, else 0)")
    add("--retry", action="store_true",
        help="compute again the shards that have clips which could not be read")
    add("--force", action="store_true", help="replace an extraction by another command")
    # fmt: on
    stores.add_step_option(parser)
    common.add_levels_option(parser)
    inference.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0 if every clip could be read."""
    cluster.import_ray()
    if options.address is not None:
        cluster.check_address(options.address)
    # Workers are in other folders.
    options.bundle = (options.bundle or DEFAULT_BUNDLE).absolute()
    options.output = options.output.absolute()
    options.trust = options.trust and options.trust.absolute()
    options.threads = options.threads or 1
    settings = _settings(options)
    OutputNames([options.input], force=True).add_folder(options.output, [])
    clips = plan.measure(clip_list.clips(options.input, options.output))
    resources = _resources(options)
    with extraction.opened(options.output, _job(options, settings), force=options.force) as before:
        size = plan.shard_size(
            clips, limit=options.shard_size << 20, workers=resources.workers or 1
        )
        shards = plan.extended(before, clips, size)
        extraction.write_plan(options.output, shards)
        worker = Worker(
            options.output,
            settings,
            partial(inference.open_engine, _engine_options(options)),
            run=secrets.token_hex(8),
            retry=options.retry,
        )
        rate = Rate(shards)
        _watch(cluster.process_all(shards, worker, resources), rate, len(clips))
        totals = extraction.write_table(options.output, shards)
    print(_summary(totals, rate))
    print("wrote", common.printable(options.output))
    return int(totals.failed > 0)


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        format=options.format,
        every=options.every,
        stride=options.stride,
        levels=options.levels,
        threads=options.threads,
        step=options.store_step,
        max_side=options.max_side or score.MAX_SIDE,
        bundle=sha256_of(options.bundle / MANIFEST_FILE),
        network=read_manifest(options.bundle).network,
    )


def _job(options: argparse.Namespace, settings: Settings) -> dict[str, str]:
    """Return what the result depends on, beside the clips."""
    chosen = {k: str(v) for k, v in vars(options).items() if k not in _NOT_OF_THE_JOB}
    return chosen | {"bundle": settings.bundle, "engine": engine.__version__}


def _engine_options(options: argparse.Namespace) -> argparse.Namespace:
    """Return those of the engine; frames that are scored are downscaled before it."""
    content = {key: value for key, value in vars(options).items() if key != "run"}
    if options.format == "score":
        content["max_side"] = None
    return argparse.Namespace(**content)


def _resources(options: argparse.Namespace) -> cluster.Resources:
    workers = options.workers
    if workers is None and options.address is None:
        workers = max(1, available_threads() // options.threads)
    gpus = options.gpus
    if gpus is None:
        gpus = float(options.backend in _GPU_BACKENDS)
    return cluster.Resources(workers, options.threads, gpus, options.address)


def _watch(done: Generator[Done, None, None], rate: Rate, total: int) -> None:
    """Show the progress, and the clips that fail; a worker that is lost may be silent about some.

    Raises:
        KeyboardInterrupt: With what is kept.
    """
    failed = 0
    with closing(done), _progress(total) as advance:
        try:
            for each in done:
                rate.add(each)
                if each.row["status"] != "ok":
                    failed += 1
                    _note(failed, each)
                advance(rate)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted after {rate.clips} of {total} clips; finished shards are kept, the "
                "same command goes on after them."
            ) from None


def _summary(totals: extraction.Totals, rate: Rate) -> str:
    kept = rate.clips - rate.computed
    earlier = f", {kept} of them by earlier runs" if kept else ""
    flows = f", {totals.flows} flows" if totals.flows else ""
    return (
        f"{totals.clips} clips{earlier}: {totals.clips - totals.failed} ok, {totals.failed} failed"
        f"{flows}; {rate.clips_per_second():.2f} clips/s"
    )


def _note(count: int, done: Done) -> None:
    if count <= _MOST_NOTES:
        print(f"flow: note: {common.printable(done.row['status'])}", file=sys.stderr)
    if count == _MOST_NOTES:
        print(f"flow: note: further ones are in {extraction.TABLE} only", file=sys.stderr)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Rate], None]]:
    """Yield what shows the rate: beside a bar on a terminal, else as a line once a minute."""
    last = time.monotonic()
    with progress_bar("starting workers", total) as advance:

        def show(rate: Rate) -> None:
            nonlocal last
            advance(str(rate))
            if not sys.stderr.isatty() and time.monotonic() - last > _SILENCE:
                last = time.monotonic()
                print(f"flow: note: {rate.clips} of {total} clips, {rate}", file=sys.stderr)

        yield show
