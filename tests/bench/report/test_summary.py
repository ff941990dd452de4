import pytest

from bench.report.comparisons import agreement, overheads, relative_errors
from bench.report.summary import summary_lines


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
        "raw_latency_ms": [p50],
        "round_lengths": [1],
        "group": 0,
        "weights_sha256": "a",
        "gflop": None,
        "epe": None,
        "epe_by_pair": [],
        "epe_vs_reference": distance,
        **changes,
    }


def test_int8_against_fp32():
    rows = [
        entry("pytorch-eager", 50.0, epe=4.0),
        entry("onnxruntime", 30.0, epe=4.0),
        entry("openvino", 25.0, epe=4.0, epe_by_pair=[3.0, 5.0, None]),
        entry("onnxruntime", 28.0, precision="int8", epe=4.0),
        # +0.04 px on average, with a standard error of 0.01 px: 0.01 / 4 is 0.25 %.
        entry("openvino", 10.0, precision="int8", epe=4.04, epe_by_pair=[3.05, 5.03, None]),
    ]

    def int8_lines(rows):
        lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
        return [line for line in lines if line.startswith("int8")]

    (line,) = int8_lines(rows)
    assert line == (
        "int8       flownets_slim in openvino, 10.0 ms: 3.00 times as fast as onnxruntime fp32, "
        "5.00 times as fast as pytorch-eager fp32, EPE +1.00% ± 0.25%"
    )
    rows[2] |= {"epe_by_pair": [4.0]}
    rows[4] |= {"epe_by_pair": [4.04]}
    (one_pair,) = int8_lines(rows)
    assert one_pair.endswith("EPE +1.00% on a single pair")
    rows[4] |= {"weights_sha256": "b"}
    (other_weights,) = int8_lines(rows)
    assert other_weights.endswith("EPE not compared: its weights differ from those of the fp32 row")
    assert int8_lines(rows[-1:]) == []


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
    # Faster, but not fp32, not the same work, not on the same device, not the engine.
    entry("openvino", 1.0, distance=0.5, batch=3),
    entry("openvino", 2.0, distance=0.01, precision="fp16"),
    entry("onnxruntime", 3.0, batch=4),
    entry("onnxruntime-cuda", 4.0, device="cuda:0"),
    entry("opencv", 5.0, network="dis_fast", distance=None),
    entry("onnxruntime (bare)", 6.0, batch=4),
]


def test_numbers():
    found = overheads(ROWS)
    assert found == pytest.approx({"onnxruntime": 1 / 29, "openvino": 25 / 25.5 - 1})
    assert agreement(ROWS) == {"fp32": 0.5, "fp16": 0.01}


def in_rounds(backend, medians, **changes):
    """Return a row with rounds of three samples each."""
    samples = [factor * median for median in medians for factor in (1, 1, 7)]
    lengths = {"raw_latency_ms": samples, "round_lengths": [3] * len(medians)}
    return entry(backend, medians[0], **lengths, **changes)


def test_rows_are_compared_round_by_round():
    """The machine was slow in different rounds of the two rows."""
    rows = [in_rounds("pytorch-eager", [20, 40, 20]), in_rounds("openvino", [10, 20, 20])]
    lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
    assert lines[0].endswith("2.00 times as fast")
    assert lines[-1] == (
        "note       the machine's speed changed: in 2 of 2 rows the slowest round took up to 2.0 "
        "times as long as the fastest; the ratios above are medians over the rounds"
    )
    steady = [in_rounds("openvino", [10, 12, 11])]
    lines = summary_lines(result_of(steady, status="skipped", reason="no row"))
    assert not any(line.startswith("note") for line in lines)


def test_opencv_is_compared_with_rows_of_the_same_group():
    rows = [
        entry("openvino", 10.0, epe=2.5),
        entry("openvino", 5.0, precision="int8", epe=2.51),
        entry("opencv", 12.0, network="dis_medium", epe=2.0),
        entry("opencv", 4.0, network="dis_fast", epe=None),
        entry("openvino", 1.0, network="other", group=1),
        entry("opencv", 9.0, network="dis_medium", group=2),
    ]
    lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
    assert [line for line in lines if line.startswith("opencv")] == [
        "opencv     flownets_slim int8 (EPE 2.51 px) in openvino, 5.0 ms: 2.40 times as fast as "
        "dis_medium (EPE 2.00 px), 0.80 times as fast as dis_fast"
    ]


def test_errors_relative_to_dis():
    rows = [
        entry("openvino", 9.0, epe_by_pair=[1.0, 4.0, None, 2.0, 0.0, 1.0]),
        entry("opencv", 9.0, network="dis_medium", epe_by_pair=[4.0, 2.0, 1.0, 2.0, 3.0, 0.0]),
        entry("opencv", 9.0, network="dis_fast", epe_by_pair=[8.0, 1.0, 1.0, 2.0, 3.0, 1.0]),
        entry("opencv", 9.0, network="dis_fast", epe_by_pair=[1.0] * 6, height=64),
        entry("opencv", 9.0, network="farneback", epe_by_pair=[1.0] * 6),
    ]
    # Pairs with an error of 0 or none are left out: (1/4 * 2 * 1)^(1/3), (1/8 * 4 * 1 * 1)^(1/4).
    assert relative_errors(rows[0], rows) == {
        "dis_medium": {"ratio": pytest.approx(0.5 ** (1 / 3)), "won": 1, "pairs": 3},
        "dis_fast": {"ratio": pytest.approx(0.5 ** (1 / 4)), "won": 1, "pairs": 4},
    }
    assert set(relative_errors(rows[1], rows)) == {"dis_fast"}
    assert relative_errors(entry("openvino", 9.0, epe_by_pair=None), rows) == {}
    rows[0]["epe_relative"] = relative_errors(rows[0], rows)
    rows[0] |= {"height": None, "width": None}
    lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
    assert [line for line in lines if line.startswith("error")] == [
        "error      flownets_slim fp32 in openvino, native sizes: EPE 0.79 times that of DIS "
        "medium (smaller on 1 of 3), 0.84 times that of DIS fast (smaller on 1 of 4); geometric "
        "means over pairs"
    ]


def test_lines():
    started = {"import_ms": 101.0, "first_flow_ms": 702.0, "torch_imported": False}
    rows = [row for row in ROWS if row["batch"] == 1]
    rows += [entry("openvino", 0.1, status="failed", reason="boom")]
    rows[0] = {**rows[0], "reason": "a note"}
    assert summary_lines(result_of(rows, **started)) == [
        "speed      openvino fp32 25.0 ms, PyTorch eager 50.0 ms (flownets_slim, 384x512): 2.00 "
        "times as fast",
        "overhead   engine.infer compared with the bare session: onnxruntime +3.4%, openvino -2.0%",
        "agreement  mean distance to fp32 PyTorch, largest of all rows: fp32 3e-06 px, "
        "fp16 0.01 px",
        "opencv     flownets_slim fp16 in openvino, 2.0 ms: 2.50 times as fast as dis_fast",
        "start      import engine 101 ms, without torch; first flow of a new process after 702 ms",
        "note       flownets_slim: a note",
    ]
    started["torch_imported"] = True
    (start,) = summary_lines(result_of([], **started))
    assert "import engine 101 ms, with torch" in start


def test_a_run_without_comparable_rows():
    assert summary_lines(result_of([], status="failed", reason="BackendError: broken")) == [
        "start      failed: BackendError: broken"
    ]


def test_distance_to_the_peak():
    rows = [
        # 4 GFLOP in 50 ms are 80 GFLOP/s; in 25 ms 160.
        entry("onnxruntime", 50.0, gflop=4.0),
        entry("openvino", 25.0, gflop=4.0),
        entry("openvino", 20.0, gflop=4.0, precision="fp16"),
        entry("openvino", 10.0, gflop=4.0, precision="int8"),
        # Faster, but of another size, on a GPU, not the engine, or without a number of operations.
        entry("onnxruntime", 1.0, gflop=1.0, height=192),
        entry("onnxruntime-cuda", 1.0, gflop=4.0, device="cuda:0"),
        entry("openvino (bare)", 1.0, gflop=4.0),
        entry("openvino", 1.0, network="flownets"),
    ]
    lines = summary_lines(result_of(rows, status="skipped", reason="no row"))
    assert [line for line in lines if line.startswith("peak")] == [
        "peak       flownets_slim fp32 in openvino, 384x512 batch 1: 4.0 GFLOP in 25.0 ms = "
        "160 GFLOP/s, 80% of the 200 GFLOP/s of fp32 matrix products",
        "peak       flownets_slim fp16 in openvino, 384x512 batch 1: 4.0 GFLOP in 20.0 ms = "
        "200 GFLOP/s, 100% of the 200 GFLOP/s of fp32 matrix products",
        "peak       flownets_slim int8 in openvino, 384x512 batch 1: 4.0 GFLOP in 10.0 ms = "
        "400 GOP/s, int8 matrix products not measured: openvino is not installed",
    ]
