"""What a run says in a few lines: speed, overhead, agreement, start, and what to know."""

import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from bench.peaks import PEAKS
from bench.rows import BY_NAME, REFERENCE

Json = dict[str, Any]

# What the project promises; a run shows whether it is kept on this machine.
WANTED_SPEEDUP = 1.5
ALLOWED_OVERHEAD = 0.10
EXACT_PX = {"fp32": 1e-3, "fp16": 0.04}  # as a build's verification does, export/spec.py
IMPORT_MS = 300
FIRST_FLOW_MS = 2000
# What int8 is for: how many times as fast as fp32 here and there, at what increase of the error.
WANTED_INT8 = {"onnxruntime": 1.8, REFERENCE: 3.0}
ALLOWED_EPE_INCREASE = 0.005
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
        *(f"stream     {line}" for line in _streams(rows)),
        *(f"peak       {line}" for line in _peaks(rows, result["environment"]["peaks"])),
        f"start      {_start(result['startup'])}",
        *(f"note       {note}" for note in _notes(rows)),
    ]


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
            return _p50(eager) / _p50(best), best, eager
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
                found[name] = _p50(row) / _p50(bare) - 1
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
            f"{_p50(exact[name]) / _p50(row):.2f} times as fast as {name} fp32 "
            f"{_verdict(_p50(exact[name]) / _p50(row) >= wanted)} wanted {wanted}"
            for name, wanted in WANTED_INT8.items()
            if name in exact
        ]
        before = exact.get(row["backend"], {})
        if before.get("epe") is not None and row["epe"] is not None:
            change = row["epe"] / before["epe"] - 1
            doubt = _doubt(row, before)
            kept = _verdict(change <= ALLOWED_EPE_INCREASE)
            parts.append(f"EPE {change:+.2%}{doubt} {kept} allowed {ALLOWED_EPE_INCREASE:+.1%}")
        compared = ", ".join(parts) or "no fp32 row beside it in this run"
        yield f"{row['network']} in {row['backend']}, {_p50(row):.1f} ms: {compared}"


def _doubt(row: Json, before: Json) -> str:
    """The standard error of the change of a row's error, where several pairs tell it.

    Rounding moves single pairs by far more than all of them: of eight pairs, half a per cent is
    nothing yet.
    """
    pairs = zip(before["epe_by_pair"], row["epe_by_pair"], strict=True)
    changes = [after - first for first, after in pairs if None not in (first, after)]
    if len(changes) < 2:
        return ""
    return f" ± {statistics.stdev(changes) / len(changes) ** 0.5 / before['epe']:.2%}"


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
                    f"({_p50(row) / _p50(reusing):.2f} times as fast)"
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
