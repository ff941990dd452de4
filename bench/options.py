"""The command line of ``python -m bench.compare``, checked."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bench.rows import BY_NAME, Row, backend_names, row_groups
from engine.backends import available_threads
from engine.errors import nearest

PRECISIONS = ("fp32", "fp16", "int8")
QUICK = {"network": ["flownets_slim"], "sizes": [(384, 512)], "batch": [1]}
FULL = {
    "network": ["flownets_slim", "flownets"],
    "sizes": [(384, 512), (448, 1024)],
    "batch": [1, 4],
}


class UsageError(Exception):
    """The request itself cannot be met; the message says which part and what to do."""


@dataclass(frozen=True)
class Options:
    """What is asked for; see ``--help``. ``groups`` are the rows, those that take turns together.

    ``bundles`` and ``weights`` replace what ships, ``seconds`` is the time of each row over all its
    rounds, ``pairs`` the largest number of pairs taken from the data.
    """

    groups: tuple[tuple[Row, ...], ...]
    size: tuple[int, int]
    largest_batch: int
    data: str
    pairs: int
    bundles: tuple[Path, ...]
    weights: Path | None
    threads: int
    seconds: float
    full: bool
    list_only: bool
    json: Path | None
    report: Path | None


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other error of this command."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value makes no sense, or no row is left.
    """
    given = _parser().parse_args(arguments)
    for name, value in (FULL if given.full else QUICK).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    if given.weights is not None and len(given.network) > 1:
        raise UsageError("--weights belong to one network; name it with --network.")
    return Options(
        groups=_groups(given),
        size=given.sizes[0],
        largest_batch=max(given.batch),
        data=given.data,
        pairs=given.pairs,
        bundles=tuple(given.bundle),
        weights=given.weights,
        threads=given.threads or available_threads(),
        seconds=given.seconds,
        full=given.full,
        list_only=given.list,
        json=given.json,
        report=given.report,
    )


def _groups(given: argparse.Namespace) -> tuple[tuple[Row, ...], ...]:
    try:
        backends = backend_names(given.backends, full=given.full)
    except ValueError as error:
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
            f"no row is left: none of {', '.join(backends)} runs {', '.join(given.precisions)}."
        )
    return tuple(map(tuple, groups))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m bench.compare",
        description="Latency and end-point error of every way to run the networks, side by side. "
        "Sizes are HEIGHTxWIDTH; lists are separated by commas.",
    )
    add = parser.add_argument
    add("--network", type=_list, metavar="A,B", help="default: flownets_slim")
    add("--backends", default="all", metavar="A,B", help=f"all, or of: {', '.join(BY_NAME)}")
    add("--precisions", type=_precisions, default=["fp32", "fp16"], metavar="A,B")
    add("--sizes", type=_sizes, metavar="HxW,..", help="default: 384x512")
    add("--batch", type=_counts, metavar="N,..", help="pairs per call; default: 1")
    add("--data", default="motorcycle", help="motorcycle (default), synthetic, or a folder in the "
        "layout of Flying Chairs")  # fmt: skip
    add("--pairs", type=_count, default=8, metavar="N", help="at most so many; default: 8")
    add("--bundle", type=Path, action="append", default=[], metavar="DIR",
        help="a bundle to use; may be given several times")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", help="instead of the shipped ones")
    add("--threads", type=_count, metavar="N", help="default: every CPU this process may use")
    add("--seconds", type=_seconds, default=3.0, metavar="S", help="per row; default: 3")
    add("--full", action="store_true", help="more sizes and batches, the full-size network, "
        "compiled PyTorch")  # fmt: skip
    add("--list", action="store_true", help="print the rows and stop")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--report", type=Path, metavar="FILE.html", help="write a page with plots and pictures")
    return parser


def _list(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return list(dict.fromkeys(names))


def _precisions(text: str) -> list[str]:
    names = _list(text)
    for name in names:
        if name not in PRECISIONS:
            raise argparse.ArgumentTypeError(
                f"unknown precision {name!r}; expected {', '.join(PRECISIONS)}."
                f"{nearest(name, PRECISIONS)}"
            )
    return names


def _sizes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for name in _list(text):
        match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", name)
        if not match:
            raise argparse.ArgumentTypeError(f"{name!r} is no size; expected HxW, e.g. 384x512")
        sizes.append((int(match[1]), int(match[2])))
    return sizes


def _counts(text: str) -> list[int]:
    return [_count(part) for part in _list(text)]


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; expected seconds, more than 0")
    return seconds
