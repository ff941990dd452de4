"""Compare the backends of the networks: latency, end-point error, memory.

python -m bench.compare
python -m bench.compare --backends onnxruntime,openvino --sizes 448x1024 --report flow.html
python -m bench.compare --data sintel/final:DIR --sizes native --pairs 100
"""

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cli import console, exit_code, save_json
from bench.compare_options import Options, parse_options
from bench.data import PairSet, load_pairs
from bench.environment import ModuleError, describe, found_gpus
from bench.harness.bundles import Bundles
from bench.harness.measure import Outcome, Setting, measure_group, steps
from bench.harness.plan import Row, Size
from bench.machine.peaks import highest, measure_peaks, not_measured
from bench.machine.startup import measure_startup
from bench.report.comparisons import relative_errors
from bench.report.page import write_report
from bench.report.pictures import pictures_of
from bench.report.summary import summary_lines
from bench.report.terminal import terminal_table
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.errors import EngineError
from engine.system.argument_parser import UsageError
from engine.system.command import run
from engine.system.progress import progress_bar

CACHE = Path("build/bench")
# Many short rounds, because the machine's speed may change for seconds at a time.
ROUNDS = 10
PEAK_SECONDS = 2.0  # before the rows, and again after them


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (a row failed) or 2 (the request cannot be met)."""
    try:
        options = parse_options(arguments)
        if options.list_only:
            _print_rows(options.groups)
            return 0
        pairs = load_pairs(options.data, limit=options.pairs, cache=CACHE)
        result, outcomes = compare(options, pairs)
    except (UsageError, EngineError, ModuleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    try:
        _write(result, outcomes, pairs, options)
    except OSError as error:
        print(f"error: {error}; the printed results above are complete", file=sys.stderr)
        return 2
    parts = [*result["rows"], result["startup"]]
    return exit_code(parts, require_gpu=options.require_gpu)


def compare(options: Options, pairs: PairSet) -> tuple[dict[str, Any], list[Outcome]]:
    """Measure all rows; return the object that ``--json`` writes, and the outcomes.

    Each row has ``latency_ms`` and the samples, ``epe``, ``epe_by_pair`` in the order of
    ``data["pairs"]``, ``scores`` by region (`engine.flow.regions.scores`), and ``epe_relative``
    (`bench.report.comparisons.relative_errors`). ``height`` and ``width`` are None where pairs keep
    their own size.

    Raises:
        BundleError: a given bundle cannot be read.
        ModuleError: there is no such network.
        UsageError: no row uses a given bundle.
    """
    environment = describe(threads=options.threads)
    size = options.size or pairs.largest
    bundles = _checked_bundles(options, size)
    outcomes: list[Outcome] = []
    total = sum(steps(rows, pairs=pairs, rounds=ROUNDS) for rows in options.groups)
    # Each step is announced before it begins: the count starts one below 0.
    bar = progress_bar("preparing", total, completed=-1)
    with tempfile.TemporaryDirectory() as folder, bar as progress:
        setting = Setting(
            rounds=ROUNDS,
            seconds=options.seconds,
            threads=options.threads,
            has_gpu=environment["gpu"] is not None,
            folder=Path(folder),
        )
        early = _peaks(options, has_gpu=setting.has_gpu)
        for index, rows in enumerate(options.groups):
            together = measure_group(
                rows, pairs=pairs, bundles=bundles, setting=setting, progress=progress
            )
            for outcome in together:
                outcome.entry["group"] = index
            outcomes += together
        environment["peaks"] = highest(early, _peaks(options, has_gpu=setting.has_gpu))
    entries = [outcome.entry for outcome in outcomes]
    for entry in entries:
        entry["epe_relative"] = relative_errors(entry, entries)
    result = {
        "schema": 1,
        "environment": environment,
        "data": pairs.to_json(),
        "rows": entries,
        "startup": _startup(outcomes, size),
    }
    return {**result, "summary": summary_lines(result)}, outcomes


def _checked_bundles(options: Options, size: Size) -> Bundles:
    bundles = Bundles(
        options.bundles,
        trust=options.trust,
        weights=options.weights,
        cache=CACHE,
        size=size,
        batch=max(4, options.largest_batch),
    )
    rows = [row for group in options.groups for row in group if row.method.kind != "opencv"]
    for network in dict.fromkeys(row.network for row in rows):
        bundles.check_network(network)
    bundles.check_given(row for row in rows if row.method.kind != "pytorch")
    return bundles


def _peaks(options: Options, *, has_gpu: bool) -> dict[str, Any]:
    """Measure the rate of matrix products, if the engine runs on the CPU in this run."""
    methods = [row.method for rows in options.groups for row in rows]
    on_cpu = [method for method in methods if method.kind == "engine" and not method.gpu]
    if all(method.unavailable(has_gpu=has_gpu) for method in on_cpu):
        return not_measured("no row of the engine on the CPU in this run")
    return measure_peaks(threads=options.threads, seconds=PEAK_SECONDS)


def _startup(outcomes: Sequence[Outcome], size: Size) -> dict[str, Any]:
    """Measure the start of a new process, if a row of the engine was measured."""
    if not any(
        outcome.row.method.kind == "engine" and outcome.entry["status"] == "ok"
        for outcome in outcomes
    ):
        return {"status": "skipped", "reason": "no row of the engine in this run"}
    if not DEFAULT_BUNDLE.is_dir():
        return {"status": "skipped", "reason": "no default bundle inside the engine"}
    return measure_startup(*size)


def _write(
    result: dict[str, Any], outcomes: Sequence[Outcome], pairs: PairSet, options: Options
) -> None:
    try:
        if options.json is not None:
            save_json(result, options.json)
        if options.report is not None:
            options.report.parent.mkdir(parents=True, exist_ok=True)
            write_report(result, pictures_of(outcomes, pairs), options.report)
    finally:
        console(width=124).print(terminal_table(result))
        for line in result["summary"]:
            print(line)
    for name, file in (("json", options.json), ("report", options.report)):
        if file is not None:
            print(f"{name:10} {file}")
    print(f"next: {_next_command(options)}")


def _next_command(options: Options) -> str:
    if options.report is not None:
        return f"python -m webbrowser {options.report}"
    more = "" if options.full else "--full "
    return f"python -m bench.compare {more}--json build/compare.json --report build/compare.html"


def _print_rows(groups: Sequence[Sequence[Row]]) -> None:
    has_gpu = bool(found_gpus())
    for row in (row for rows in groups for row in rows):
        reason = row.method.unavailable(has_gpu=has_gpu)
        print(row if reason is None else f"{row}: skipped, {reason}")


if __name__ == "__main__":
    # As an exception it ends the workers and removes the temporary folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run(main)
