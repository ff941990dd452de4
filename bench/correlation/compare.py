"""Compare every home of the correlation operator: forward, backward, distance to the floor.

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

``largest_error`` is relative to the largest value that ``kernels.reference`` expects, over result
and gradients at the timed size. ``speed_up`` and ``times_floor`` are the forward pass's median
against that of the base of the same device and type (``correlation_homes.BASES``), and against the
floor: the larger of ``operations`` / ``matmul_gflops`` and ``bytes`` / ``copy_gb_s``, the rates
being this run's fastest. Of the 2 * C * K * H * W ``operations_padded`` only those inside the image
are ``operations``. What stays in a cache may beat the floor's ``bytes``, which are charged at the
rate of the memory. What does not apply, or was not measured, is null.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.cli import Parser, UsageError, count, exit_code, names_among, output_file, seconds, size
from bench.correlation.problem import DTYPES, Problem, Setting
from bench.correlation.table import lines, tables
from bench.environment import describe
from bench.runners.registry import TORCH
from engine.system.files import write_atomically
from engine.system.threads import available_threads

ROUNDS = 5


@dataclass(frozen=True)
class Options:
    """What is asked for; ``seconds`` is the time of each pass of each home over all rounds."""

    setting: Setting
    dtypes: tuple[str, ...]
    threads: int
    seconds: float
    require_gpu: bool
    json: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 (a home is wrong or fails) or 2 (it cannot be run)."""
    try:
        options = parse_options(arguments)
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
        with _progress() as progress:
            result = compare(options, progress)
        _write(result, options.json)
    except (UsageError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return exit_code(result["rows"], require_gpu=options.require_gpu)


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value makes no sense, or PyTorch is not installed.
    """
    default = Setting()
    parser = Parser(
        prog="python -m bench.correlation",
        description="Time of every home of the correlation operator, at FlowNetC's setting unless "
        "told otherwise, beside the least that the machine's measured rates allow.",
    )
    add = parser.add_argument
    add("--channels", type=count, default=default.channels, metavar="N", help="default: 256")
    add("--size", type=size, default=(default.height, default.width), metavar="HxW",
        help="of the feature maps; default: 48x64")  # fmt: skip
    add("--max-displacement", type=count, default=default.max_displacement, metavar="N",
        help="default: 20")  # fmt: skip
    add("--stride-2", type=count, default=default.stride_2, metavar="N",
        help="step between displacements; default: 2")  # fmt: skip
    add("--dtype", type=names_among(DTYPES, "dtype"), default=DTYPES, metavar="A,B",
        help=f"of {','.join(DTYPES)}; default: both, where a home takes them")  # fmt: skip
    add("--threads", type=count, metavar="N", help="default: every CPU this process may use")
    add("--seconds", type=seconds, default=3.0, metavar="S", help="per pass and home; default: 3")
    add("--require-gpu", action="store_true", help="exit with code 1 if no row ran on a GPU")
    add("--json", type=output_file, metavar="FILE", help="write everything measured")
    given = parser.parse_args(arguments)
    if importlib.util.find_spec("torch") is None:
        raise UsageError(
            f"PyTorch is not installed; it runs this bench: pip install {TORCH.install}"
        )
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


def compare(options: Options, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure all homes and gather the object that ``--json`` writes."""
    progress("importing PyTorch")
    # Here, so that a wrong argument is refused at once.
    from bench.correlation.implementations import homes
    from bench.correlation.rounds import base_medians, measure_together

    environment = describe(threads=options.threads)
    rows, rates = measure_together(
        homes(options.dtypes),
        Problem(options.setting, threads=options.threads),
        rounds=ROUNDS,
        seconds=options.seconds,
        progress=progress,
    )
    bases = base_medians(rows)
    floors = {rate.kind: rate.floor(options.setting) for rate in rates}
    return {
        "schema": 1,
        "environment": environment,
        "setting": {**asdict(options.setting), "threads": options.threads},
        "floors": [rate.to_json(options.setting) for rate in rates],
        "rows": [row.to_json(bases.get(row.home.kind), floors.get(row.home.kind)) for row in rows],
    }


def _write(result: dict[str, Any], file: Path | None) -> None:
    # Elsewhere than on a terminal rich assumes 80 columns; the table needs 100.
    console = Console() if sys.stdout.isatty() else Console(width=100)
    console.print(tables(result))
    for line in lines(result):
        print(line)
    if file is not None:
        write_atomically(file, json.dumps(result, indent=1, allow_nan=False).encode())
        print(f"json       {file}")
        print("next: python -m bench.compare --network flownetc")
    else:
        print("next: python -m bench.correlation --json build/correlation.json")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal what goes on, nothing elsewhere."""
    # Drawn seldom: drawing takes time from the CPU that is being measured.
    with Console(stderr=True).status("starting", refresh_per_second=1) as status:
        yield status.update
