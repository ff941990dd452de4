"""The command line of ``python -m bench.compare``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli import add_trust, output_file
from bench.harness.plan import Row, Size, backend_names, row_groups
from bench.runners.registry import BY_NAME
from engine.bundle.shipped import HELP, bundle_named
from engine.bundle.signature import read_trusted
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import names, names_among, positive_float, positive_int, size
from engine.system.threads import available_threads

PRECISIONS = ("fp32", "fp16", "int8")
NATIVE = "native"  # of --sizes: each pair at its own size
QUICK = {"network": ["coarse_to_fine_slim"], "sizes": [(384, 512)], "batch": [1]}
FULL = {
    "network": [
        *("coarse_to_fine_slim", "flownets_pyramid_slim", "flownets_slim", "flownets"),
        *("flownetc_slim", "flownetc"),
    ],
    "sizes": [(384, 512), (448, 1024)],
    "batch": [1, 4],
}


@dataclass(frozen=True)
class Options:
    """The request; see ``--help``.

    Attributes:
        groups: all rows, in groups of interleaved rows.
        size: the first (H, W) of ``--sizes``; None: pairs at their own size only.
        seconds: total time of each row over all rounds.
        pairs: largest number of pairs from the data.
        bundles: bundles to use instead of the default one.
        trust: public key that signed them; None: they are not checked.
        weights: weights to use instead of the shipped ones.
    """

    groups: tuple[tuple[Row, ...], ...]
    size: Size | None
    largest_batch: int
    data: str
    pairs: int
    bundles: tuple[Path, ...]
    trust: Path | None
    weights: Path | None
    threads: int
    seconds: float
    full: bool
    list_only: bool
    require_gpu: bool
    json: Path | None
    report: Path | None


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value is invalid, or no row remains.
        BundleError: a given bundle cannot be read, or is not signed by the given key.
    """
    given = _parser().parse_args(arguments)
    if given.trust is not None and not given.bundle:
        raise UsageError("--trust is for --bundle: add it, or leave --trust out.")
    if given.network is None and given.bundle:
        networks = [read_trusted(bundle, given.trust).network for bundle in given.bundle]
        given.network = list(dict.fromkeys(networks))
    if None in (given.sizes or ()) and max(given.batch or [1]) > 1:
        raise UsageError(f"--sizes {NATIVE}: pairs of different sizes are no batch; use --batch 1.")
    for name, value in (FULL if given.full else QUICK).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    if given.weights is not None and len(given.network) > 1:
        raise UsageError("--weights is for one network; choose it with --network.")
    return Options(
        groups=_groups(given),
        size=next((size for size in given.sizes if size is not None), None),
        largest_batch=max(given.batch),
        data=given.data,
        pairs=given.pairs,
        bundles=tuple(given.bundle),
        trust=given.trust,
        weights=given.weights,
        threads=given.threads or available_threads(),
        seconds=given.seconds,
        full=given.full,
        list_only=given.list,
        require_gpu=given.require_gpu,
        json=given.json,
        report=given.report,
    )


def _groups(given: argparse.Namespace) -> tuple[tuple[Row, ...], ...]:
    try:
        backends = backend_names(given.backends, full=given.full)
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from None
    groups = row_groups(
        given.network,
        backends,
        precisions=given.precisions,
        sizes=given.sizes,
        batches=given.batch,
    )
    if not groups:
        raise UsageError(
            f"no row remains: {', '.join(backends)} cannot run {', '.join(given.precisions)}; "
            "choose other --backends or --precisions."
        )
    return tuple(map(tuple, groups))


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m bench.compare",
        description="Compare latency and end-point error of the networks in every backend, and of "
        "OpenCV. Sizes are HEIGHTxWIDTH; lists are separated by commas.",
    )
    add = parser.add_argument
    # fmt: off
    add("--network", type=names, metavar="A,B",
        help="networks; default: coarse_to_fine_slim, or those of the bundles")
    add("--backends", default="all", metavar="A,B",
        help="all (default: slow ones only with --full, neither unrefined ones nor those for large "
        "frames), or some of, or both: " + ", ".join(BY_NAME))
    add("--precisions", type=names_among(PRECISIONS, "precision"), metavar="A,B",
        default=list(PRECISIONS), help=f"precisions; default: {','.join(PRECISIONS)}")
    add("--sizes", type=_sizes, metavar="HxW,..", help="sizes that pairs are resized to, or "
        "native: each pair at its own size; default: 384x512")
    add("--batch", type=_counts, metavar="N,..", help="pairs per call; default: 1")
    add("--data", default="motorcycle", help="motorcycle (default), synthetic, or pairs "
        "with true flow: a data set as NAME:DIR, for example middlebury:DIR, or a folder")
    add("--pairs", type=positive_int, default=8, metavar="N", help="at most N pairs; default: 8")
    add("--bundle", type=bundle_named, action="append", default=[], metavar="DIR",
        help=f"use this bundle: {HELP}; may be repeated")
    add_trust(parser)
    add("--weights", type=Path, metavar="FILE", help="weights instead of the shipped ones")
    add("--threads", type=positive_int, metavar="N", help="CPU threads; default: all CPUs")
    add("--seconds", type=positive_float, default=3.0, metavar="S", help="time per row; default: 3")
    add("--full", action="store_true", help="more networks, sizes, batches and backends")
    add("--list", action="store_true", help="print the rows and stop")
    add("--require-gpu", action="store_true", help="exit with code 1 if no row ran on a GPU")
    add("--json", type=output_file, metavar="FILE", help="write all results")
    add("--report", type=output_file, metavar="FILE.html", help="write a page with plots")
    # fmt: on
    return parser


def _sizes(text: str) -> list[Size | None]:
    try:
        return [None if part == NATIVE else size(part) for part in names(text)]
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or {NATIVE}") from None


def _counts(text: str) -> list[int]:
    return [positive_int(part) for part in names(text)]
