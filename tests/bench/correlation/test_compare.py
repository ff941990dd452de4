"""The benchmark of the correlation, at tiny sizes."""

import json

import numpy as np
import pytest

from bench.correlation.problem import Problem, Setting

torch = pytest.importorskip("torch")

from bench.correlation.compare import main  # noqa: E402
from bench.correlation.floor import Floor, Rates  # noqa: E402
from bench.correlation.implementations import (  # noqa: E402
    Implementation,
    Opened,
    implementations,
)
from bench.correlation.measure import measure  # noqa: E402
from kernels import library, torch_form  # noqa: E402

TINY = Setting(channels=6, height=5, width=7, max_displacement=4, stride_2=2)
SMALL_RUN = "--channels 6 --size 5x7 --max-displacement 4 --stride-2 2 --threads 1 --seconds 0.002"
ROW = {
    "home", "device", "dtype", "status", "reason", "largest_error", "forward_ms", "backward_ms",
    "speed_up", "times_floor", "raw_forward_ms", "raw_backward_ms",
}  # fmt: skip
FLOOR = {
    "device", "dtype", "operations", "operations_padded", "bytes", "matmul_gflops", "copy_gb_s",
    "compute_ms", "traffic_ms", "floor_ms", "raw_matmul_ms", "raw_copy_ms",
}  # fmt: skip
WITHOUT_BACKWARD = {"ONNX form, ONNX Runtime", "ONNX form, OpenVINO"}


@pytest.fixture(autouse=True)
def _quick_and_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.correlation.compare.ROUNDS", 2)
    monkeypatch.setattr("bench.correlation.measure.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("bench.correlation.floor.MATRIX_SIDE", {"cpu": 16, "cuda": 16})
    monkeypatch.setattr("bench.correlation.floor.COPY_BYTES", 2**12)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def quick_implementations(no_gpu, monkeypatch):
    """The implementations that compile no model."""
    found = [each for each in implementations(["fp32"]) if not each.name.startswith("ONNX")]
    monkeypatch.setattr("bench.correlation.implementations.implementations", lambda dtypes: found)


def run(*arguments):
    code = main([*SMALL_RUN.split(), "--json", "out/result.json", *arguments])
    with open("out/result.json") as file:
        result = json.load(file)
    return code, result, {(row["home"], row["dtype"], row["device"]): row for row in result["rows"]}


@pytest.mark.usefixtures("no_gpu")
def test_a_whole_run(capsys):
    code, result, rows = run()
    assert code == 0
    assert set(result) == {"schema", "environment", "setting", "floors", "rows"}
    assert result["schema"] == 1
    assert result["environment"]["threads"] == 1
    assert result["setting"] == {
        "channels": 6, "height": 5, "width": 7, "max_displacement": 4, "stride_2": 2, "threads": 1
    }  # fmt: skip
    (floor,) = result["floors"]
    assert set(floor) == FLOOR
    base = rows["shift and multiply, PyTorch", "fp32", "cpu"]
    assert base["speed_up"] == 1
    for (name, _, device), row in rows.items():
        assert set(row) == ROW
        if device == "cuda":
            assert row["status"] == "skipped"
            assert "no NVIDIA GPU that PyTorch" in row["reason"]
        elif row["status"] == "ok":
            check_measured(row, floor, base, has_backward=name not in WITHOUT_BACKWARD)
        else:  # a variant that this CPU does not have, or no library
            assert name.startswith("CPU library")
            assert row["status"] == "skipped"
    output = capsys.readouterr().out
    assert "CPU: C 6, 5x7, displacement 4 in steps of 2" in output
    assert output.index("machine    ") < output.index("floor      cpu fp32: ")
    assert output.splitlines()[-2:] == [
        "json       out/result.json",
        "next: python -m bench.compare --network flownetc",
    ]


def check_measured(row, floor, base, *, has_backward):
    assert row["reason"] is None
    assert 0 <= row["largest_error"] < 1e-5
    forward = row["forward_ms"]
    assert forward["n"] == len(row["raw_forward_ms"]) >= 2
    assert forward["p50"] == pytest.approx(np.median(row["raw_forward_ms"]), abs=1e-5)
    assert (row["backward_ms"] is not None) == bool(row["raw_backward_ms"]) == has_backward
    assert row["speed_up"] == pytest.approx(base["forward_ms"]["p50"] / forward["p50"])
    assert row["times_floor"] == pytest.approx(forward["p50"] / floor["floor_ms"])


@pytest.mark.usefixtures("quick_implementations")
def test_the_table_is_sorted_by_time(capsys):
    _, _, rows = run()
    output = capsys.readouterr().out
    measured = [row for row in rows.values() if row["status"] == "ok"]
    measured.sort(key=lambda row: row["forward_ms"]["p50"])
    places = [output.index(f"\n {row['home']} ") for row in measured]
    assert places == sorted(places)


@pytest.mark.usefixtures("no_gpu")
def test_fp16_has_no_rows_on_a_cpu(capsys):
    code, result, rows = run("--dtype", "fp16")
    assert code == 0
    assert {row["status"] for row in rows.values()} == {"skipped"}
    assert result["floors"] == []
    assert "CUDA library, tensor cores, fp16 on cuda" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.gpu
def test_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    if library.load("cuda") is None:
        pytest.skip(f"no CUDA library in {library.directory()}: run `make kernels`")
    code, result, rows = run()
    assert code == 0, [row["reason"] for row in rows.values()]
    assert {(floor["device"], floor["dtype"]) for floor in result["floors"]} == {
        ("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "fp16")
    }  # fmt: skip
    for dtype in ("fp32", "fp16"):
        assert rows["CUDA library, classic", dtype, "cuda"]["speed_up"] == 1
        assert rows["CUDA library, plain", dtype, "cuda"]["backward_ms"] is not None
    if torch.cuda.get_device_capability() >= (8, 0):
        assert rows["CUDA library, tensor cores", "fp16", "cuda"]["status"] == "ok"


@pytest.mark.usefixtures("quick_implementations")
@pytest.mark.parametrize(
    ("function", "damage", "error", "text"),
    [
        ("correlation", lambda out: 1.01 * out, pytest.approx(0.01, rel=1e-3), "0.01 of the larg"),
        ("correlation", lambda out: out * torch.nan, None, "largest error is nan of the largest"),
        ("correlation", lambda out: out[:, 1:], None, r"shape (1, 24, 5, 7); expected (1, 25, 5"),
        ("gradients", lambda grads: grads[::-1], pytest.approx(2, abs=1), "allowed is 1e-05"),
        ("gradients", lambda grads: grads[:1], None, "ValueError: zip()"),
    ],
)
def test_a_wrong_implementation_fails(monkeypatch, capsys, function, damage, error, text):
    right = getattr(torch_form, function)
    monkeypatch.setattr(torch_form, function, lambda *a, **k: damage(right(*a, **k)))
    code, _, rows = run()
    assert code == 1
    row = rows["PyTorch operators", "fp32", "cpu"]
    assert row["status"] == "failed"
    assert text in row["reason"]
    assert row["largest_error"] == error
    assert row["forward_ms"] is row["backward_ms"] is row["speed_up"] is None
    assert rows["shift and multiply, PyTorch", "fp32", "cpu"]["status"] == "ok"
    assert "failed, " in capsys.readouterr().out


@pytest.mark.usefixtures("quick_implementations")
def test_a_variant_that_the_cpu_lacks_is_skipped(monkeypatch):
    forward = library.forward

    def refuse(device, arguments, *pointers, stream):
        if arguments.variant == library.VARIANTS["cpu-avx512"]:
            raise library.VariantError("correlation on cpu: this machine has none")
        forward(device, arguments, *pointers, stream=stream)

    monkeypatch.setattr(library, "forward", refuse)
    code, _, rows = run()
    assert code == 0
    row = rows["CPU library, avx512", "fp32", "cpu"]
    assert (row["status"], row["reason"]) == (
        "skipped",
        "correlation on cpu: this machine has none",
    )


@pytest.mark.usefixtures("quick_implementations")
def test_without_a_library_the_reason_is_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    library.load.cache_clear()
    try:
        code, _, rows = run()
    finally:
        library.load.cache_clear()
    assert code == 0
    for name in ("baseline", "avx2", "avx512"):
        row = rows[f"CPU library, {name}", "fp32", "cpu"]
        assert row["status"] == "skipped"
        assert row["reason"].endswith("run `make kernels`")


@pytest.mark.usefixtures("quick_implementations")
def test_an_error_of_a_library_is_a_failure(monkeypatch):
    def refuse(*_, **__):
        raise library.KernelError("out of memory")

    monkeypatch.setattr(library, "load", lambda device: object())
    monkeypatch.setattr(library, "forward", refuse)
    code, _, rows = run()
    assert code == 1
    row = rows["CPU library, baseline", "fp32", "cpu"]
    assert (row["status"], row["reason"]) == ("failed", "KernelError: out of memory")


def test_floor_by_hand():
    floor = Floor(operations=4_000_000_000, bytes=100_000_000, matmul_gflops=200, copy_gb_s=10)
    assert floor.compute_ms == pytest.approx(20)
    assert floor.traffic_ms == pytest.approx(10)
    assert floor.ms == floor.compute_ms
    slow_memory = Floor(4_000_000_000, 100_000_000, 200, 4)
    assert slow_memory.ms == slow_memory.traffic_ms == pytest.approx(25)


def test_rates_by_hand():
    rates = Rates(("cpu", "fp16"))  # a product of two 16x16 matrices, and a copy of 4096 bytes
    rates.samples = {"matmul": [3.0, 2.0, 30.0], "copy": [4.0, 5.0]}
    setting = Setting(channels=2, height=3, width=4, max_displacement=1, stride_2=1)
    floor = rates.floor(setting)
    assert floor.matmul_gflops == pytest.approx(2 * 16**3 / 2e6)  # in 2 ms, the fastest
    assert floor.copy_gb_s == pytest.approx(2 * 4096 / 4e6)  # read and written in 4 ms
    entry = rates.to_json(setting)
    assert set(entry) == FLOOR
    assert entry["compute_ms"] == pytest.approx(280 / (2 * 16**3) * 2)
    assert entry["traffic_ms"] == pytest.approx(312 / (2 * 4096) * 4)
    assert entry["floor_ms"] == max(entry["compute_ms"], entry["traffic_ms"])
    assert entry["raw_matmul_ms"] == [3, 2, 30]


def test_rounds_interleave_and_warm_up(monkeypatch):
    calls = []

    def recorder(name):
        def timer(seconds):
            calls.append((name, round(seconds, 6)))
            if name == "B" and len(calls) > 12:
                raise RuntimeError("B broke")
            return [seconds]

        return timer

    def open_implementation(chosen, _):
        return Opened({"forward": recorder(chosen.name)}, 0.0)

    module = "bench.correlation"
    monkeypatch.setattr(f"{module}.measure.open_implementation", open_implementation)
    monkeypatch.setattr(f"{module}.floor._matmul", lambda *_: recorder("matmul"))
    monkeypatch.setattr(f"{module}.floor._copy", lambda _: recorder("copy"))
    two = [Implementation(name, "cpu", "fp32", pytest.fail) for name in "AB"]
    reported = []
    rows, _ = measure(
        two, Problem(TINY, threads=1), rounds=3, seconds=3.0, progress=reported.append
    )
    names = ["matmul", "copy", "A", "B"]
    # Each time: untimed calls, then the timed ones. B breaks in the second round.
    once = [(name, seconds) for name in names for seconds in (0.15, 1.0)]
    assert calls == [*once, *once[:-1], *once[:-2]]
    assert rows[0].samples["forward"] == [1.0, 1.0, 1.0]
    assert (rows[1].status, rows[1].reason) == ("failed", "RuntimeError: B broke")
    assert rows[1].to_json(1.0, None)["raw_forward_ms"] == []
    assert reported[:2] == ["checking A, fp32 on cpu", "checking B, fp32 on cpu"]
    assert reported[2] == "round 1 of 3: rates of cpu fp32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size 48", "'48' is not a size; expected HxW"),
        ("--channels 0", "'0' is not a count"),
        ("--max-displacement 5", "max_displacement 5 is not a multiple of stride_2 2"),
        ("--seconds never", "'never' is out of range"),
        ("--dtype fp61", "unknown dtype 'fp61'; expected fp32, fp16. Did you mean 'fp16'?"),
        ("--threads x", "'x' is not a count"),
        ("--sise 4x4", "unrecognized arguments"),
    ],
)
def test_bad_arguments(capsys, arguments, message):
    assert main(arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_without_pytorch(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "error: PyTorch is not installed: pip install 'flownet-engine[training]'\n"
    )
