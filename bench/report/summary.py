"""The summary of a run in a few lines of measured facts."""

import statistics
from collections.abc import Iterator

from bench.machine.peaks import PEAKS
from bench.report.comparisons import (
    BASELINES,
    Json,
    agreement,
    fastest,
    overheads,
    p50,
    round_medians,
    same,
    same_work,
    size_of,
    times_as_fast,
)
from bench.runners.registry import BY_NAME, REFERENCE

# The fp32 rows that an int8 row is compared with.
INT8_BASELINES = ("onnxruntime", REFERENCE)
# Rounds of one row that differ by more than this factor mean that the machine's speed changed.
STEADY = 1.25
# The matrix product whose rate a row is compared with. CPU runtimes compute an fp16 graph in fp32.
PRODUCTS = {"fp32": "fp32", "fp16": "fp32", "int8": "int8"}


def summary_lines(result: Json) -> list[str]:
    """Return the lines that are printed below the table: measured facts, each with its subject."""
    rows = [row for row in result["rows"] if row["status"] == "ok"]
    return [
        *(f"speed      {line}" for line in _speed(rows)),
        *(f"overhead   {line}" for line in _overhead(rows)),
        *(f"agreement  {line}" for line in _agreement(rows)),
        *(f"int8       {line}" for line in _int8(rows)),
        *(f"opencv     {line}" for line in _opencv(rows)),
        *(f"error      {line}" for line in _errors(rows)),
        *(f"stream     {line}" for line in _streams(rows)),
        *(f"peak       {line}" for line in _peaks(rows, result["environment"]["peaks"])),
        f"start      {_start(result['startup'])}",
        *(f"note       {line}" for line in (*_notes(rows), *_unsteady(rows))),
    ]


def _speed(rows: list[Json]) -> Iterator[str]:
    """Compare the fastest fp32 row with PyTorch eager, at the first size that has both."""
    for eager in (row for row in rows if row["backend"] == REFERENCE):
        engine = [row for row in rows if _is_engine_fp32(row) and same_work(row, eager)]
        if engine:
            best = min(engine, key=p50)
            yield (
                f"{best['backend']} fp32 {p50(best):.1f} ms, PyTorch eager {p50(eager):.1f} ms "
                f"({best['network']}, {size_of(best)}): {times_as_fast(best, eager):.2f} times as "
                "fast"
            )
            return


def _overhead(rows: list[Json]) -> Iterator[str]:
    parts = [f"{name} {share:+.1%}" for name, share in overheads(rows).items()]
    if parts:
        yield f"engine.infer compared with the bare session: {', '.join(parts)}"


def _agreement(rows: list[Json]) -> Iterator[str]:
    parts = [f"{name} {distance:.2g} px" for name, distance in agreement(rows).items()]
    if parts:
        yield f"mean distance to fp32 PyTorch, largest of all rows: {', '.join(parts)}"


def _int8(rows: list[Json]) -> Iterator[str]:
    """Compare each network's fastest int8 row with fp32 rows of the same work."""
    for row in (row for row in fastest(rows) if row["precision"] == "int8"):
        exact = {
            other["backend"]: other
            for other in rows
            if other["precision"] == "fp32" and same_work(row, other)
        }
        parts = [
            f"{times_as_fast(row, exact[name]):.2f} times as fast as {name} fp32"
            for name in INT8_BASELINES
            if name in exact
        ]
        before = exact.get(row["backend"])
        if before is not None and None not in (row["epe"], before["epe"]):
            parts.append(_epe_change(row, before))
        if parts:
            yield f"{row['network']} in {row['backend']}, {p50(row):.1f} ms: {', '.join(parts)}"


def _epe_change(row: Json, before: Json) -> str:
    """Return the relative change of the error, with its standard error over the pairs."""
    if row["weights_sha256"] != before["weights_sha256"]:
        return "EPE not compared: its weights differ from those of the fp32 row"
    change = row["epe"] / before["epe"] - 1
    pairs = zip(before["epe_by_pair"], row["epe_by_pair"], strict=True)
    changes = [after - first for first, after in pairs if None not in (first, after)]
    if len(changes) < 2:
        return f"EPE {change:+.2%} on a single pair"
    error = statistics.stdev(changes) / len(changes) ** 0.5 / before["epe"]
    return f"EPE {change:+.2%} ± {error:.2%}"


def _opencv(rows: list[Json]) -> Iterator[str]:
    """Compare the engine's fastest row of each group with OpenCV's methods in the same group."""
    best: dict[int, Json] = {}
    for row in fastest(rows):
        group = row["group"]
        best[group] = min(row, best.get(group, row), key=p50)
    for row in best.values():
        compared = [
            f"{times_as_fast(row, other):.2f} times as fast as {_named(other)}"
            for other in rows
            if BY_NAME[other["backend"]].kind == "opencv" and other["group"] == row["group"]
        ]
        if compared:
            yield f"{_named(row)} in {row['backend']}, {p50(row):.1f} ms: {', '.join(compared)}"


def _errors(rows: list[Json]) -> Iterator[str]:
    """Compare the error of each network's fastest rows with that of OpenCV's DIS, pair by pair."""
    for row in fastest(rows):
        compared = [
            f"{found['ratio']:.2f} times that of {BASELINES[name]} (smaller on {found['won']} of "
            f"{found['pairs']})"
            for name, found in row.get("epe_relative", {}).items()
        ]
        if compared:
            yield (
                f"{row['network']} {row['precision']} in {row['backend']}, {size_of(row)}: EPE "
                f"{', '.join(compared)}; geometric means over pairs"
            )


def _named(row: Json) -> str:
    """Return a row's algorithm or network, and its error if there is one."""
    is_opencv = BY_NAME[row["backend"]].kind == "opencv"
    name = row["network"] if is_opencv else f"{row['network']} {row['precision']}"
    return name if row["epe"] is None else f"{name} (EPE {row['epe']:.2f} px)"


def _streams(rows: list[Json]) -> Iterator[str]:
    """Compare a video with and without reuse of each frame's features."""
    for reusing in (row for row in rows if row["backend"].endswith(" (stream+reuse)")):
        runtime = reusing["backend"].removesuffix(" (stream+reuse)")
        for row in rows:
            comparable = same_work(row, reusing) and same(row, reusing, "precision")
            if row["backend"] == f"{runtime} (stream)" and comparable:
                yield (
                    f"{row['network']} {row['precision']} in {runtime}, {size_of(row)}: "
                    f"{p50(row):.1f} ms per frame, {p50(reusing):.1f} ms with reused features "
                    f"({times_as_fast(reusing, row):.2f} times as fast)"
                )


def _peaks(rows: list[Json], peaks: Json) -> Iterator[str]:
    """Compare the fastest rows with the rate of matrix products on the same machine."""
    for row in (row for row in fastest(rows) if row["gflop"] is not None):
        product = PRODUCTS[row["precision"]]
        unit = "GOP/s" if product == "int8" else "GFLOP/s"
        rate, peak = row["gflop"] / p50(row) * 1e3, peaks[PEAKS[product]]
        compared = (
            f"{rate / peak:.0%} of the {peak:.0f} {unit} of {product} matrix products"
            if peak
            else f"{product} matrix products not measured: {peaks['how'][product]}"
        )
        yield (
            f"{row['network']} {row['precision']} in {row['backend']}, {size_of(row)} batch "
            f"{row['batch']}: {row['gflop']:.1f} GFLOP in {p50(row):.1f} ms = {rate:.0f} {unit}, "
            f"{compared}"
        )


def _start(startup: Json) -> str:
    if startup["status"] != "ok":
        return f"{startup['status']}: {startup['reason']}"
    torch = "with torch" if startup["torch_imported"] else "without torch"
    return (
        f"import engine {startup['import_ms']:.0f} ms, {torch}; first flow of a new process after "
        f"{startup['first_flow_ms']:.0f} ms"
    )


def _notes(rows: list[Json]) -> list[str]:
    notes = [f"{row['network']}: {row['reason']}" for row in rows if row["reason"]]
    return list(dict.fromkeys(notes))


def _unsteady(rows: list[Json]) -> Iterator[str]:
    """Report whether the machine's speed changed during the run."""
    spreads = [max(found) / min(found) for found in map(round_medians, rows)]
    unsteady = [spread for spread in spreads if spread > STEADY]
    if unsteady:
        yield (
            f"the machine's speed changed: in {len(unsteady)} of {len(rows)} rows the slowest "
            f"round took up to {max(unsteady):.1f} times as long as the fastest; the ratios above "
            "are medians over the rounds"
        )


def _is_engine_fp32(row: Json) -> bool:
    return BY_NAME[row["backend"]].kind == "engine" and row["precision"] == "fp32"
