"""Compare the implementations of the correlation: forward pass, backward pass, lower bound.

python -m bench.correlation
python -m bench.correlation --size 56x128 --json build/correlation.json

``--json`` writes::

    {"schema": 1, "environment": {...}, as of ``bench.compare``,
     "setting": {"channels", "height", "width", "max_displacement", "stride_2", "threads"},
     "floors": [{"device": "cpu" | "cuda", "dtype": "fp32" | "fp16",
                 "operations", "operations_padded", "bytes", "matmul_gflops", "copy_gb_s",
                 "compute_ms", "traffic_ms", "floor_ms",
                 "raw_matmul_ms": [...], "raw_copy_ms": [...]}],
     "rows": [{"home", "device", "dtype", "status": "ok" | "skipped" | "failed", "reason",
               "largest_error", "forward_ms": {"p50", "p90", "p99", "mean", "n"} | null,
               "backward_ms": the same | null, "speed_up", "times_floor",
               "raw_forward_ms": [...], "raw_backward_ms": [...]}]}

``home`` is the implementation. ``largest_error`` is relative to the largest value of
``kernels.reference``, over result and gradients at the timed size. ``speed_up`` compares the median
of the forward pass with that of the baseline of the same device and type
(``implementations.BASELINES``), ``times_floor`` with the floor: the larger of ``operations`` /
``matmul_gflops`` and ``bytes`` / ``copy_gb_s``, at the fastest rates of this run. Only operations
inside the image are ``operations``; ``operations_padded`` is 2 * C * K * H * W. Data in a cache can
be faster than the floor, which assumes the rate of the memory. Values that do not apply or were not
measured are null.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cli import console, deliver, exit_code, output_file
from bench.correlation.problem import DTYPES, Problem, Setting
from bench.correlation.table import lines, tables
from bench.environment import describe
from bench.runners.registry import TORCH
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.argument_types import names_among, positive_float, positive_int, size
from engine.system.progress import progress_bar
from engine.system.threads import available_threads

ROUNDS = 5


@dataclass(frozen=True)
class Options:
    """The request; ``seconds`` is the total time of each pass of each implementation."""

    setting: Setting
    dtypes: tuple[str, ...]
    threads: int
    seconds: float
    require_gpu: bool
    json: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (an implementation is wrong or fails) or 2 (usage error)."""
    try:
        options = parse_options(arguments)
        with progress_bar("starting", None) as progress:
            result = compare(options, progress)
        _write(result, options.json)
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return exit_code(result["rows"], require_gpu=options.require_gpu)


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value is invalid, or PyTorch is not installed.
    """
    given = _parser().parse_args(arguments)
    if importlib.util.find_spec("torch") is None:
        raise UsageError(f"PyTorch is not installed: pip install {TORCH.install}")
    try:
        height, width = given.size
        setting = Setting(given.channels, height, width, given.max_displacement, given.stride_2)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Options(
        setting=setting,
        dtypes=tuple(given.dtype),
        threads=given.threads or available_threads(),
        seconds=given.seconds,
        require_gpu=given.require_gpu,
        json=given.json,
    )


def _parser() -> argparse.ArgumentParser:
    default = Setting()
    parser = RaisingParser(
        prog="python -m bench.correlation",
        description="Measure all implementations of the correlation operator, by default with "
        "FlowNetC's parameters, and compare them with a lower bound from the machine's rates.",
    )
    add = parser.add_argument
    add("--channels", type=positive_int, default=default.channels, metavar="N", help="default: 256")
    # fmt: off
    add("--size", type=size, default=(default.height, default.width), metavar="HxW",
        help="of the feature maps; default: 48x64")
    add("--max-displacement", type=positive_int, default=default.max_displacement, metavar="N",
        help="default: 20")
    add("--stride-2", type=positive_int, default=default.stride_2, metavar="N",
        help="step between displacements; default: 2")
    add("--dtype", type=names_among(DTYPES, "dtype"), default=DTYPES, metavar="A,B",
        help=f"some of {','.join(DTYPES)}; default: both")
    add("--threads", type=positive_int, metavar="N", help="CPU threads; default: all CPUs")
    add("--seconds", type=positive_float, default=3.0, metavar="S",
        help="time per pass; default: 3")
    # fmt: on
    add("--require-gpu", action="store_true", help="exit with code 1 if no row ran on a GPU")
    add("--json", type=output_file, metavar="FILE", help="write all results")
    return parser


def compare(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure all implementations; return the object that ``--json`` writes."""
    progress("importing PyTorch")
    # Imported here, so that usage errors are reported at once.
    from bench.correlation.implementations import implementations
    from bench.correlation.measure import baseline_medians, measure

    environment = describe(threads=options.threads)
    rows, rates = measure(
        implementations(options.dtypes),
        Problem(options.setting, threads=options.threads),
        rounds=ROUNDS,
        seconds=options.seconds,
        progress=progress,
    )
    baselines = baseline_medians(rows)
    floors = {rate.kind: rate.floor(options.setting) for rate in rates}
    return {
        "schema": 1,
        "environment": environment,
        "setting": {**asdict(options.setting), "threads": options.threads},
        "floors": [rate.to_json(options.setting) for rate in rates],
        "rows": [
            row.to_json(baselines.get(row.implementation.kind), floors.get(row.implementation.kind))
            for row in rows
        ],
    }


def _write(result: dict[str, Any], file: Path | None) -> None:
    def show() -> None:
        console(width=100).print(tables(result))
        for line in lines(result):
            print(line)

    deliver(result, file, show)
    more = (
        "correlation --json build/correlation.json"
        if file is None
        else "compare --network flownetc"
    )
    print(f"next: python -m bench.{more}")
