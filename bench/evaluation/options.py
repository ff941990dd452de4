"""The command line of ``python -m bench.evaluate``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cli import add_bundle_options, output_file
from bench.evaluation.submission import FORMATS
from engine.backends.registry import AUTO, BACKENDS
from engine.data.sources import DATA_SETS
from engine.images.padding import PADDING_MODES, PaddingMode
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import names, positive_int
from engine.system.hidden_names import hidden_stem


@dataclass(frozen=True)
class Options:
    """The request; see ``--help``.

    Attributes:
        data: ``NAME:DIR`` of each data set.
        passes: passes of the data sets that have any; None: the first of each.
        splits: splits of the data sets that have any; None: the one that papers report.
        padding: instead of the padding of each data set's protocol.
        limit: largest number of pairs of each subset.
        loading: arguments of `engine.load`.
        write: folder of the submission.
        format: of its flow files, a key of ``FORMATS``; None: that of the data set's benchmark.
    """

    data: tuple[str, ...]
    passes: tuple[str, ...] | None
    splits: tuple[str, ...] | None
    padding: PaddingMode | None
    limit: int | None
    loading: dict[str, Any]
    json: Path | None
    report: Path | None
    write: Path | None
    format: str | None

    @property
    def checkpoint(self) -> Path | None:
        """File that keeps finished pairs during the run; None: there is no output to put it by."""
        for file in (self.json, self.report):
            if file is not None:
                return file.with_name(f"{hidden_stem(file)[1:]}.partial")
        return None if self.write is None else self.write / "evaluation.partial"


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value is invalid.
    """
    given = _parser().parse_args(arguments)
    if given.write is None and given.format is not None:
        raise UsageError("--format is for --write DIR: add it, or leave --format out.")
    if given.write is not None and len(given.data) > 1:
        raise UsageError("--write is for one data set; give one --data.")
    if given.write is not None and given.padding == "centre_crop":
        raise UsageError(
            "--write: a centre crop has no flow at the borders; benchmarks expect one for each "
            "pixel. Choose another --padding."
        )
    loading = {
        "bundle": given.bundle,
        "trust": given.trust,
        "backend": given.backend,
        "device": given.device,
        "threads": given.threads,
        "compensate_motion": given.compensate_motion,
        "iterations": given.iterations,
    }
    return Options(
        data=tuple(given.data),
        passes=_tuple(getattr(given, "pass")),
        splits=_tuple(given.split),
        padding=given.padding,
        limit=given.limit,
        loading=loading,
        json=given.json,
        report=given.report,
        write=given.write,
        format=given.format,
    )


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m bench.evaluate",
        description="Error of a bundle on published data sets, by their own protocols. A run that "
        "was stopped continues when the same command is started again.",
    )
    add = parser.add_argument
    # fmt: off
    add("--data", required=True, action="append", metavar="NAME:DIR",
        help="a data set in its published layout; may be repeated. Names: " + ", ".join(DATA_SETS))
    add("--pass", type=names, metavar="A,B",
        help="passes, for example clean,final; default: the first")
    add("--split", type=names, metavar="A,B",
        help="splits; default: the one that papers report. One without flow can only be written")
    add_bundle_options(parser)
    add("--backend", default=AUTO, metavar="NAME", help=f"{AUTO} (default), {', '.join(BACKENDS)}")
    add("--device", type=int, default=0, metavar="N", help="index of the GPU; default: 0")
    add("--threads", type=positive_int, metavar="N", help="CPU threads; default: all CPUs")
    add("--compensate-motion", action="store_true",
        help="compensate the dominant global motion first, as engine.load does")
    add("--iterations", type=positive_int, metavar="N",
        help="updates of a recurrent network (RAFT); default: the bundle's own number")
    add("--padding", choices=PADDING_MODES,
        help="how images are padded to multiples of the network's divisor; default: as the data "
        "set's protocol does")
    add("--limit", type=positive_int, metavar="N",
        help="at most N pairs of each split and pass, spread evenly")
    add("--json", type=output_file, metavar="FILE", help="write all results")
    add("--report", type=output_file, metavar="FILE.html", help="write a page with pictures")
    add("--write", type=_folder, metavar="DIR",
        help="write each flow, in the layout that the benchmark accepts")
    add("--format", choices=FORMATS, help="of these flow files; default: the benchmark's")
    # fmt: on
    return parser


def _folder(text: str) -> Path:
    """Return the path of a folder to write into; it is created later."""
    output_file(str(Path(text) / "file"))
    return Path(text)
