import pytest

from bench.summary import agreement, overheads, speedup, summary_lines


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
        "epe_vs_reference": distance,
        **changes,
    }


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
    result = {"rows": rows, "startup": {"status": "ok", "reason": None, **started}}
    speed, overhead, agrees, start, note = summary_lines(result)
    assert "openvino fp32 takes 25.0 ms, PyTorch eager 50.0 ms" in speed
    assert "2.00 times as fast [ok]" in speed
    assert "onnxruntime +3.4%, openvino -2.0% [ok]" in overhead
    assert "fp32 3e-06 px, fp16 0.01 px [ok]" in agrees
    assert "import engine 101 ms [ok] allowed 300 ms, without torch [ok]" in start
    assert "after 702 ms [ok] allowed 2000 ms" in start
    assert note == "note       flownets_slim: a note"


def test_missed_promises():
    rows = [
        entry("pytorch-eager", 30.0),
        entry("openvino", 25.0, distance=5e-4),
        entry("openvino (bare)", 20.0),
        entry("openvino", 25.0, distance=0.03, precision="fp16"),
    ]
    result = {"rows": rows, "startup": {"status": "failed", "reason": "BackendError: broken"}}
    speed, overhead, agrees, start = summary_lines(result)
    assert "1.20 times as fast [missed]" in speed
    assert "+25.0% [missed]" in overhead
    assert "[missed]" in agrees
    assert start == "start      failed: BackendError: broken"


def test_a_slow_start():
    started = {"import_ms": 300.0, "first_flow_ms": 2000.0, "torch_imported": True}
    result = {"rows": [], "startup": {"status": "ok", "reason": None, **started}}
    start = summary_lines(result)[3]
    assert "import engine 300 ms [missed]" in start
    assert "with torch [missed]" in start
    assert "after 2000 ms [missed]" in start


def test_nothing_to_compare():
    result = {"rows": [], "startup": {"status": "skipped", "reason": "no row"}}
    lines = summary_lines(result)
    assert "no exact fp32 row" in lines[0]
    assert "no engine row" in lines[1]
    assert "no PyTorch reference" in lines[2]
