import pytest

from bench.summary import EXACT_PX, agreement, overheads, speedup, summary_lines
from export.spec import SPECS


def entry(backend, p50, *, precision="fp32", distance=0.0, status="ok", reason=None, **changes):
    return {
        "network": "flownets_slim",
        "backend": backend,
        "precision": precision,
        "device": "cpu",
        "height": 384,
        "width": 512,
        "batch": 1,
        "status": status,
        "reason": reason,
        "latency_ms": {"p50": p50},
        "gflop": None,
        "epe_vs_reference": distance,
        **changes,
    }


def test_what_is_exact_is_the_same_to_a_build_and_to_the_bench():
    for spec in SPECS.values():
        assert {name: spec.tolerances[name].mean_px for name in EXACT_PX} == EXACT_PX


def test_int8_against_fp32():
    rows = [
        entry("pytorch-eager", 50.0, epe=4.0),
        entry("onnxruntime", 30.0, epe=4.0),
        entry("openvino", 25.0, epe=4.0, epe_by_pair=[3.0, 5.0, None]),
        entry("onnxruntime", 28.0, precision="int8", epe=4.0),
        # By 0.04 px on average, of which each is 0.08 px away: sqrt(2) * 0.08 / sqrt(2) / 4 is 2 %.
        entry("openvino", 10.0, precision="int8", epe=4.04, epe_by_pair=[3.12, 4.96, None]),
    ]

    def int8_lines(rows):
        lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
        return [line for line in lines if line.startswith("int8")]

    (line,) = int8_lines(rows)
    assert line == (
        "int8       flownets_slim in openvino, 10.0 ms: 3.00 times as fast as onnxruntime fp32 "
        "[ok] wanted 1.8, 5.00 times as fast as pytorch-eager fp32 [ok] wanted 3.0, EPE +1.00% "
        "± 2.00% [missed] allowed +0.5%"
    )
    rows[2] |= {"epe_by_pair": [4.0]}
    rows[4] |= {"epe_by_pair": [4.04]}
    (one_pair,) = int8_lines(rows)
    assert "EPE +1.00% [missed]" in one_pair
    (alone,) = int8_lines(rows[-1:])
    assert alone.endswith("10.0 ms: no fp32 row beside it in this run")


PEAKS = {
    "fp32_gflops": 200.0,
    "int8_gops": None,
    "how": {"fp32": "numpy", "int8": "openvino is not installed"},
}


def result_of(rows, **startup):
    started = {"status": "ok", "reason": None, **startup}
    return {"environment": {"peaks": PEAKS}, "rows": rows, "startup": started}


ROWS = [
    entry("pytorch-eager", 50.0),
    entry("onnxruntime", 30.0, distance=2e-6),
    entry("onnxruntime (bare)", 29.0, distance=2e-6),
    entry("openvino", 25.0, distance=3e-6),
    entry("openvino (bare)", 25.5),
    # Faster, but not exact, not fp32, not the same work, not on the same device, not the engine.
    entry("openvino", 1.0, distance=0.5, batch=3),
    entry("openvino", 2.0, distance=0.01, precision="fp16"),
    entry("onnxruntime", 3.0, batch=4),
    entry("onnxruntime-cuda", 4.0, device="cuda:0"),
    entry("opencv", 5.0, network="dis_fast", distance=None),
    entry("onnxruntime (bare)", 6.0, batch=4),
]


def test_numbers():
    ratio, best, eager = speedup(ROWS)
    assert ratio == pytest.approx(2.0)
    assert (best["backend"], eager["backend"]) == ("openvino", "pytorch-eager")
    found = overheads(ROWS)
    assert found == pytest.approx({"onnxruntime": 1 / 29, "openvino": 25 / 25.5 - 1})
    assert agreement(ROWS) == {"fp32": 0.5, "fp16": 0.01}


def test_lines():
    started = {"import_ms": 101.0, "first_flow_ms": 702.0, "torch_imported": False}
    rows = [row for row in ROWS if row["batch"] == 1]
    rows += [entry("openvino", 0.1, status="failed", reason="boom")]
    rows[0] = {**rows[0], "reason": "a note"}
    speed, overhead, agrees, start, note = summary_lines(result_of(rows, **started))
    assert "openvino fp32 takes 25.0 ms, PyTorch eager 50.0 ms" in speed
    assert "2.00 times as fast [ok]" in speed
    assert "onnxruntime +3.4%, openvino -2.0% [ok]" in overhead
    assert "fp32 3e-06 px, fp16 0.01 px [ok] allowed fp32 0.001 px, fp16 0.04 px" in agrees
    assert "import engine 101 ms [ok] allowed 300 ms, without torch [ok]" in start
    assert "after 702 ms [ok] allowed 2000 ms" in start
    assert note == "note       flownets_slim: a note"


def test_what_has_no_limit_gets_no_verdict():
    """How far int8 may be from PyTorch is its gate's to say, by the error."""
    rows = [entry("openvino", 5.0, distance=50.0, precision="int8")]
    _, _, agrees, *_ = summary_lines(result_of(rows, status="skipped", reason="no row"))
    assert agrees.endswith("worst row: int8 50 px")


def test_missed_promises():
    rows = [
        entry("pytorch-eager", 30.0),
        entry("openvino", 25.0, distance=5e-4),
        entry("openvino (bare)", 20.0),
        entry("openvino", 25.0, distance=0.05, precision="fp16"),
    ]
    result = result_of(rows, status="failed", reason="BackendError: broken")
    speed, overhead, agrees, start = summary_lines(result)
    assert "1.20 times as fast [missed]" in speed
    assert "+25.0% [missed]" in overhead
    assert "[missed]" in agrees
    assert start == "start      failed: BackendError: broken"


def test_a_slow_start():
    started = {"import_ms": 300.0, "first_flow_ms": 2000.0, "torch_imported": True}
    start = summary_lines(result_of([], **started))[3]
    assert "import engine 300 ms [missed]" in start
    assert "with torch [missed]" in start
    assert "after 2000 ms [missed]" in start


def test_nothing_to_compare():
    lines = summary_lines(result_of([], status="skipped", reason="no row"))
    assert "no exact fp32 row" in lines[0]
    assert "no engine row" in lines[1]
    assert "no PyTorch reference" in lines[2]


def test_distance_to_the_peak():
    rows = [
        # 4 GFLOP in 50 ms are 80 GFLOP/s; in 25 ms 160.
        entry("onnxruntime", 50.0, gflop=4.0),
        entry("openvino", 25.0, gflop=4.0),
        entry("openvino", 20.0, gflop=4.0, precision="fp16"),
        entry("openvino", 10.0, gflop=4.0, precision="int8"),
        # Faster, but another size, on no CPU, not the engine, and not counted.
        entry("onnxruntime", 1.0, gflop=1.0, height=192),
        entry("onnxruntime-cuda", 1.0, gflop=4.0, device="cuda:0"),
        entry("openvino (bare)", 1.0, gflop=4.0),
        entry("openvino", 1.0, network="flownets"),
    ]
    lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
    assert [line for line in lines if line.startswith("peak")] == [
        "peak       flownets_slim fp32 in openvino, 384x512 batch 1: 4.0 GFLOP in 25.0 ms = "
        "160 GFLOP/s, 80% of the 200 GFLOP/s that fp32 matrix products reach here",
        "peak       flownets_slim fp16 in openvino, 384x512 batch 1: 4.0 GFLOP in 20.0 ms = "
        "200 GFLOP/s, 100% of the 200 GFLOP/s that fp32 matrix products reach here",
        "peak       flownets_slim int8 in openvino, 384x512 batch 1: 4.0 GFLOP in 10.0 ms = "
        "400 GOP/s, int8 matrix products not measured: openvino is not installed",
    ]
