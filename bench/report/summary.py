"""What a run says in a few lines: speed, overhead, agreement, start, and what to know.

How many times as fast a row is as another is the median over the rounds, of the medians in each:
`bench.harness.interleave` says why.
"""

import statistics
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from bench.harness.plan import BY_NAME, REFERENCE
from bench.machine.peaks import PEAKS

Json = dict[str, Any]

# What the project promises; a run shows whether it is kept on this machine.
WANTED_SPEEDUP = 1.5
ALLOWED_OVERHEAD = 0.10
EXACT_PX = {"fp32": 1e-3, "fp16": 0.04}  # as a build's verification does, export/spec.py
IMPORT_MS = 300
FIRST_FLOW_MS = 2000
# What int8 is for: how many times as fast as fp32 here and there, at what increase of the error,
# half of what a build's gate admits.
WANTED_INT8 = {"onnxruntime": 1.8, REFERENCE: 3.0}
WANTED_EPE_INCREASE = 0.005
# A row whose rounds differ by more than this met a machine of two speeds.
STEADY = 1.25
# Which products a row is held against: on a CPU, the runtimes compute an fp16 graph in fp32.
PRODUCTS = {"fp32": "fp32", "fp16": "fp32", "int8": "int8"}


def summary_lines(result: Json) -> list[str]:
    """The lines to print below the table of a result."""
    rows = [row for row in result["rows"] if row["status"] == "ok"]
    return [
        f"speed      {_speed(rows)}",
        f"overhead   {_overhead(rows)}",
        f"agreement  {_agreement(rows)}",
        *(f"int8       {line}" for line in _int8(rows)),
        *(f"peers      {line}" for line in _peers(rows)),
        *(f"stream     {line}" for line in _streams(rows)),
        *(f"peak       {line}" for line in _peaks(rows, result["environment"]["peaks"])),
        f"start      {_start(result['startup'])}",
        *(f"note       {note}" for note in (*_notes(rows), *_unsteady(rows))),
    ]


def times_as_fast(row: Json, other: Json) -> float:
    """How many times as fast a row is as another that took turns with it."""
    rounds = zip(_round_medians(row), _round_medians(other), strict=True)
    return statistics.median(theirs / ours for ours, theirs in rounds)


def speedup(rows: Iterable[Json]) -> tuple[float, Json, Json] | None:
    """Fastest exact fp32 row against PyTorch eager, at the first network and size that has both.

    Returns:
        How many times as fast, the fast row, the eager row.
    """
    rows = list(rows)
    for eager in rows:
        if eager["backend"] != REFERENCE:
            continue
        exact = [row for row in rows if _same_work(row, eager) and _is_exact(row)]
        if exact:
            best = min(exact, key=_p50)
            return times_as_fast(best, eager), best, eager
    return None


def overheads(rows: Iterable[Json]) -> dict[str, float]:
    """Time that the engine adds to each runtime's bare session, as a share of it, first size."""
    rows = list(rows)
    found: dict[str, float] = {}
    for bare in rows:
        name = bare["backend"].removesuffix(" (bare)")
        if BY_NAME[bare["backend"]].kind != "bare" or name in found:
            continue
        for row in rows:
            if row["backend"] == name and _same_work(row, bare) and _same(row, bare, "precision"):
                found[name] = times_as_fast(bare, row) - 1
    return found


def agreement(rows: Iterable[Json]) -> dict[str, float]:
    """Largest mean distance to fp32 PyTorch among the engine's rows, by precision, in pixels."""
    found: dict[str, float] = {}
    for row in rows:
        ours = BY_NAME[row["backend"]].kind in ("engine", "stream", "many")
        if ours and row["epe_vs_reference"] is not None:
            precision = row["precision"]
            found[precision] = max(found.get(precision, 0.0), row["epe_vs_reference"])
    return found


def _speed(rows: list[Json]) -> str:
    found = speedup(rows)
    if found is None:
        return "no exact fp32 row beside PyTorch eager in this run"
    ratio, best, eager = found
    return (
        f"{best['backend']} fp32 takes {_p50(best):.1f} ms, PyTorch eager {_p50(eager):.1f} ms "
        f"({best['network']}, {best['height']}x{best['width']}): {ratio:.2f} times as fast "
        f"{_verdict(ratio >= WANTED_SPEEDUP)} wanted {WANTED_SPEEDUP}"
    )


def _overhead(rows: list[Json]) -> str:
    found = overheads(rows)
    if not found:
        return "no engine row beside its bare runtime in this run"
    parts = ", ".join(f"{name} {share:+.1%}" for name, share in found.items())
    kept = max(found.values()) <= ALLOWED_OVERHEAD
    return f"engine.infer over the bare session: {parts} {_verdict(kept)} allowed 10 %"


def _agreement(rows: list[Json]) -> str:
    found = agreement(rows)
    if not found:
        return "no PyTorch reference in this run"
    parts = ", ".join(f"{name} {distance:.2g} px" for name, distance in found.items())
    limits = {name: EXACT_PX[name] for name in found if name in EXACT_PX}
    said = f"mean distance to fp32 PyTorch, worst row: {parts}"
    if not limits:
        return said
    kept = all(found[name] <= limit for name, limit in limits.items())
    allowed = ", ".join(f"{name} {limit:g} px" for name, limit in limits.items())
    return f"{said} {_verdict(kept)} allowed {allowed}"


def _int8(rows: list[Json]) -> Iterator[str]:
    """What the fastest int8 row of each network gains over fp32, and what it loses."""
    for row in fastest(rows):
        if row["precision"] != "int8":
            continue
        exact = {
            other["backend"]: other
            for other in rows
            if other["precision"] == "fp32" and _same_work(row, other)
        }
        parts = [
            f"{times:.2f} times as fast as {name} fp32 {_verdict(times >= wanted)} wanted {wanted}"
            for name, wanted in WANTED_INT8.items()
            if name in exact
            for times in [times_as_fast(row, exact[name])]
        ]
        before = exact.get(row["backend"])
        if before is not None and None not in (row["epe"], before["epe"]):
            parts.append(_epe_increase(row, before))
        compared = ", ".join(parts) or "no fp32 row beside it in this run"
        yield f"{row['network']} in {row['backend']}, {_p50(row):.1f} ms: {compared}"


def _epe_increase(row: Json, before: Json) -> str:
    """By how much a row's error is larger, with its standard error and what to make of it.

    Rounding moves single pairs by far more than all of them: of eight pairs, half a per cent is
    nothing yet, and of one nothing can be said.
    """
    if row["weights_sha256"] != before["weights_sha256"]:
        return "EPE not compared: its weights are not those of the fp32 row"
    change = row["epe"] / before["epe"] - 1
    pairs = zip(before["epe_by_pair"], row["epe_by_pair"], strict=True)
    changes = [after - first for first, after in pairs if None not in (first, after)]
    if len(changes) < 2:
        return f"EPE {change:+.2%} on a single pair"
    doubt = statistics.stdev(changes) / len(changes) ** 0.5 / before["epe"]
    verdict = _verdict(change <= WANTED_EPE_INCREASE)
    if abs(change - WANTED_EPE_INCREASE) < doubt:
        verdict = "[unclear]"
    return f"EPE {change:+.2%} ± {doubt:.2%} {verdict} wanted {WANTED_EPE_INCREASE:+.1%} at most"


def _peers(rows: list[Json]) -> Iterator[str]:
    """The engine's fastest row beside each method that took turns with it."""
    best: dict[int, Json] = {}
    for row in fastest(rows):
        group = row["group"]
        best[group] = min(row, best.get(group, row), key=_p50)
    for row in best.values():
        compared = [
            f"{times_as_fast(row, peer):.2f} times as fast as {_named(peer)}"
            for peer in rows
            if BY_NAME[peer["backend"]].kind == "peer" and peer["group"] == row["group"]
        ]
        if compared:
            yield f"{_named(row)} in {row['backend']}, {_p50(row):.1f} ms: {', '.join(compared)}"


def _named(row: Json) -> str:
    """A row's method, and its error where it is known."""
    is_peer = BY_NAME[row["backend"]].kind == "peer"
    name = row["network"] if is_peer else f"{row['network']} {row['precision']}"
    return name if row["epe"] is None else f"{name} (EPE {row['epe']:.2f} px)"


def _streams(rows: list[Json]) -> Iterator[str]:
    """What a video gains where each frame's features are computed once."""
    for reusing in rows:
        runtime, _, how = reusing["backend"].partition(" ")
        for row in rows if how == "(stream+reuse)" else ():
            same = _same_work(row, reusing) and _same(row, reusing, "precision")
            if row["backend"] == f"{runtime} (stream)" and same:
                yield (
                    f"{row['network']} {row['precision']} in {runtime}, "
                    f"{row['height']}x{row['width']}: {_p50(row):.1f} ms a frame, "
                    f"{_p50(reusing):.1f} ms with its features kept for the next "
                    f"({times_as_fast(reusing, row):.2f} times as fast)"
                )


def fastest(rows: Iterable[Json]) -> list[Json]:
    """The engine's fastest row on the CPU of each network and precision, at its first size."""
    found: dict[tuple[str, str], Json] = {}
    for row in rows:
        if BY_NAME[row["backend"]].kind != "engine" or row["device"] != "cpu":
            continue
        best = found.setdefault((row["network"], row["precision"]), row)
        if _same_work(row, best) and _p50(row) < _p50(best):
            found[row["network"], row["precision"]] = row
    return list(found.values())


def _peaks(rows: list[Json], peaks: Json) -> Iterator[str]:
    """How far the fastest rows are from what matrix products reach on the same machine."""
    for row in fastest(rows):
        if row["gflop"] is None:
            continue
        product, size = PRODUCTS[row["precision"]], f"{row['height']}x{row['width']}"
        unit = "GOP/s" if product == "int8" else "GFLOP/s"
        rate, peak = row["gflop"] / _p50(row) * 1e3, peaks[PEAKS[product]]
        told = (
            f"{rate / peak:.0%} of the {peak:.0f} {unit} that {product} matrix products reach here"
            if peak
            else f"{product} matrix products not measured: {peaks['how'][product]}"
        )
        yield (
            f"{row['network']} {row['precision']} in {row['backend']}, {size} batch "
            f"{row['batch']}: {row['gflop']:.1f} GFLOP in {_p50(row):.1f} ms = {rate:.0f} {unit}, "
            f"{told}"
        )


def _start(startup: Json) -> str:
    if startup["status"] != "ok":
        return f"{startup['status']}: {startup['reason']}"
    torch = "with torch" if startup["torch_imported"] else "without torch"
    imported, first_flow = startup["import_ms"], startup["first_flow_ms"]
    return (
        f"import engine {imported:.0f} ms {_verdict(imported < IMPORT_MS)} allowed {IMPORT_MS} ms, "
        f"{torch} {_verdict(not startup['torch_imported'])}, first flow of a fresh process after "
        f"{first_flow:.0f} ms {_verdict(first_flow < FIRST_FLOW_MS)} allowed {FIRST_FLOW_MS} ms"
    )


def _notes(rows: list[Json]) -> list[str]:
    notes = [f"{row['network']}: {row['reason']}" for row in rows if row["reason"]]
    return list(dict.fromkeys(notes))


def _unsteady(rows: list[Json]) -> list[str]:
    """Whether the machine changed its speed while rows were measured."""
    spreads = [max(found) / min(found) for found in map(_round_medians, rows)]
    unsteady = [spread for spread in spreads if spread > STEADY]
    if not unsteady:
        return []
    return [
        f"this machine's speed changed: of {len(unsteady)} of {len(rows)} rows one round took up "
        f"to {max(unsteady):.1f} times as long as another; what is said above of how many times "
        "as fast goes by round"
    ]


def _verdict(kept: bool) -> str:
    return "[ok]" if kept else "[missed]"


def _same_work(row: Json, other: Json) -> bool:
    return _same(row, other, "network", "height", "width", "batch", "device")


def _same(row: Json, other: Json, *keys: str) -> bool:
    return all(row[key] == other[key] for key in keys)


def _is_exact(row: Json) -> bool:
    distance = row["epe_vs_reference"]
    is_engine = BY_NAME[row["backend"]].kind == "engine"
    is_close = distance is not None and distance <= EXACT_PX["fp32"]
    return is_engine and row["precision"] == "fp32" and is_close


def _p50(row: Json) -> float:
    return float(row["latency_ms"]["p50"])


def _round_medians(row: Json) -> list[float]:
    samples = iter(row["raw_latency_ms"])
    return [statistics.median(islice(samples, count)) for count in row["round_lengths"]]
