"""Small complete runs: OpenCV, and the engine on the tiny bundle."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import engine
from bench.compare import main
from bench.environment import ModuleError, RefusedError, child_environment
from bench.harness.bundles import Weights
from bench.machine.startup import measure_startup
from bench.runners.registry import OPENCV_ALGORITHMS
from engine.bundle.manifest import OperationCount, read_manifest, write_manifest
from engine.data.files import read_pair
from engine.data.resize import resize_pair
from engine.data.sources import find_source, motorcycle
from engine.flow.metrics import mean_epe
from tests.support.pictures import write_pair

ENVIRONMENT = {
    "cpu", "cores", "threads", "memory_gb", "gpu", "os", "python", "packages", "commit", "date",
    "peaks",
}  # fmt: skip
# Keys and types of a measured row.
ROW = {
    "network": str,
    "backend": str,
    "runtime_version": str,
    "precision": str,
    "device": str,
    "height": int,
    "width": int,
    "batch": int,
    "status": str,
    "reason": str | None,
    "latency_ms": dict,
    "device_ms": dict | None,
    "fps": float,
    "peak_memory_mb": float,
    "raw_latency_ms": list,
    "round_lengths": list,
    "group": int,
    "weights_sha256": str | None,
    "gflop": float | None,
    "epe": float | None,
    "epe_by_pair": list | None,
    "epe_relative": dict,
    "scores": dict | None,
    "fl_all": float | None,
    "epe_vs_reference": float | None,
}


PEAKS = {"fp32_gflops": 200.0, "int8_gops": 800.0, "how": {"fp32": "a test", "int8": "a test"}}
NOT_STARTED = {"status": "skipped", "reason": "a test"}
WEIGHTS = Weights(Path("weights.safetensors"), "0" * 64, "closed form")


@pytest.fixture(autouse=True)
def _quick_and_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.compare.ROUNDS", 2)
    monkeypatch.setattr("bench.harness.interleave.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("bench.compare.measure_peaks", lambda **_: PEAKS)
    # It starts a process that opens the default bundle: one test does.
    monkeypatch.setattr("bench.compare.measure_startup", lambda *_: NOT_STARTED)


@pytest.fixture
def no_reference(monkeypatch):
    """There are no weights of a network: they are looked up in a process that imports PyTorch."""

    def fail(*_):
        raise ModuleError("no weights left")

    monkeypatch.setattr("bench.harness.bundles.Bundles.weights_for", fail)


def run(*arguments):
    code = main(["--threads", "1", "--seconds", "0.05", "--json", "out.json", *arguments])
    with open("out.json") as file:
        return code, json.load(file)


def test_opencv_only(capsys, tmp_path):
    code, result = run("--backends", "opencv", "--sizes", "64x64", "--report", "out.html")
    assert code == 0
    assert result["schema"] == 1
    assert set(result["environment"]) >= ENVIRONMENT
    assert result["environment"]["threads"] == 1
    assert result["data"]["pairs"] == ["motorcycle"]
    assert [row["network"] for row in result["rows"]] == list(OPENCV_ALGORITHMS)
    for row in result["rows"]:
        assert set(row) == set(ROW)
        assert all(isinstance(row[key], kind) for key, kind in ROW.items())
        assert row["status"] == "ok"
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p90"] <= row["latency_ms"]["p99"]
        assert row["latency_ms"]["n"] == len(row["raw_latency_ms"]) == sum(row["round_lengths"])
        # At 64x64 the mean motion is 3 px; each algorithm finds most of it.
        assert 0 < row["epe"] < 1.5
        assert row["epe_by_pair"] == [row["epe"]]
        assert 0 <= row["fl_all"] < 20
        assert row["epe_vs_reference"] is None
        assert row["gflop"] is None
    peaks = result["environment"]["peaks"]
    assert (peaks["fp32_gflops"], peaks["int8_gops"]) == (None, None)
    assert peaks["how"]["int8"] == "no row of the engine on the CPU in this run"
    assert not [line for line in result["summary"] if line.startswith("peak")]
    printed = capsys.readouterr().out
    assert "dis_medium" in printed
    assert printed.splitlines()[-1] == "next: python -m webbrowser out.html"
    page = (tmp_path / "out.html").read_text()
    assert "farneback" in page
    assert page.count("data:image/png;base64,") == 2 + len(OPENCV_ALGORITHMS)


def test_engine_and_its_bare_runtime_without_torch(tiny_bundle, tiny_flow, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.compare.measure_startup", partial(measure_startup, repeats=1))
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    # 1x1 convolution of six channels to two.
    operations = OperationCount(2 * 12 * 128 * 192 / 1e9, 128, 192)
    write_manifest(bundle, replace(read_manifest(bundle), operations=operations))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    backends = ["pytorch-eager", "onnxruntime", "onnxruntime (bare)", "openvino (bare)", "tensorrt"]
    arguments = ["--network", "tiny", "--bundle", str(bundle), "--sizes", "40x100"]
    code, result = run(*arguments, "--backends", ",".join(backends), "--batch", "2")
    assert code == 0
    rows = {(row["backend"], row["precision"]): row for row in result["rows"]}
    assert "torch is not installed: pip install" in rows["pytorch-eager", "fp32"]["reason"]
    assert rows["tensorrt", "fp32"]["status"] == "skipped"
    assert "no bundle of tiny in fp16 for onnxruntime" in rows["onnxruntime", "fp16"]["reason"]
    pair = resize_pair(motorcycle(), 40, 100)
    expected = mean_epe(tiny_flow(pair.image1, pair.image2), pair.flow, pair.valid)
    for backend in backends[1:4]:
        row = rows[backend, "fp32"]
        assert row["status"] == "ok"
        assert row["epe"] == pytest.approx(expected, rel=1e-5)
        assert row["epe_vs_reference"] is None
        # Two pairs, padded.
        assert row["gflop"] == pytest.approx(2 * 2 * 12 * 64 * 128 / 1e9)
    assert rows["pytorch-eager", "fp32"]["gflop"] is None
    assert result["environment"]["peaks"] == PEAKS
    (line,) = [line for line in result["summary"] if line.startswith("peak")]
    assert "tiny fp32 in onnxruntime, 40x100 batch 2: " in line
    assert line.endswith(" of the 200 GFLOP/s of fp32 matrix products")
    assert result["summary"][0].startswith("overhead   engine.infer compared with")
    assert result["startup"]["status"] == "ok"
    assert not result["startup"]["torch_imported"]


def test_pairs_at_their_own_size(tiny_bundle, tiny_flow, tmp_path, capsys, no_reference):
    (tmp_path / "data").mkdir()
    for name, height, width in (("a", 64, 64), ("b", 48, 80)):
        write_pair(tmp_path / "data", name, height, width)
    code, result = run(
        "--data", f"chairs:{tmp_path / 'data'}", "--sizes", "native", "--report", "out.html",
        "--bundle", str(tiny_bundle), "--precisions", "fp32",
        "--backends", "onnxruntime,onnxruntime (stream),opencv",
    )  # fmt: skip
    assert code == 0
    assert result["data"]["sizes"] == ["48x80", "64x64"]
    engine_row, stream, *opencv = result["rows"]
    assert {row["height"] for row in result["rows"]} == {None}
    assert (stream["status"], stream["reason"]) == (
        "skipped", "it needs pairs of one size: choose it with --sizes HxW"
    )  # fmt: skip
    pairs = [read_pair(files) for files in find_source(str(tmp_path / "data"))]
    flows = [tiny_flow(pair.image1, pair.image2) for pair in pairs]
    errors = [
        mean_epe(flow, pair.flow, pair.valid) for flow, pair in zip(flows, pairs, strict=True)
    ]
    assert engine_row["epe_by_pair"] == pytest.approx(errors, rel=1e-5)
    by_name = {row["network"]: row for row in opencv}
    others = by_name["dis_medium"]["epe_by_pair"]
    found = engine_row["epe_relative"]["dis_medium"]
    assert found["ratio"] == pytest.approx((errors[0] / others[0] * errors[1] / others[1]) ** 0.5)
    assert found["pairs"] == 2
    assert "native sizes, batch 1 (48x80, 64x64)" in capsys.readouterr().out
    assert "48x80" in (tmp_path / "out.html").read_text()


def test_a_missing_reference_is_noted(tiny_bundle, no_reference):
    arguments = ["--bundle", str(tiny_bundle), "--sizes", "64x64", "--precisions", "fp32"]
    code, result = run(*arguments, "--backends", "onnxruntime")
    assert code == 0
    (row,) = result["rows"]
    assert row["epe_vs_reference"] is None
    assert row["reason"] == "not compared with PyTorch: ModuleError: no weights left"
    assert f"note       tiny: {row['reason']}" in result["summary"]


def test_a_motion_compensated_row_is_not_compared_with_pytorch(tiny_bundle, no_reference):
    backends = "pytorch-eager,onnxruntime,onnxruntime (motion compensated)"
    arguments = ["--network", "tiny", "--bundle", str(tiny_bundle), "--sizes", "192x256"]
    _, result = run(*arguments, "--precisions", "fp32", "--backends", backends)
    (row,) = (row for row in result["rows"] if row["backend"] == "onnxruntime (motion compensated)")
    pair = resize_pair(motorcycle(), 192, 256)
    with engine.load(
        tiny_bundle, backend="onnxruntime", threads=1, compensate_motion=True
    ) as compensated:
        flow = compensated.infer(pair.image1, pair.image2)
    assert row["epe"] == pytest.approx(mean_epe(flow[None], pair.flow[None], pair.valid[None]))
    assert row["epe_vs_reference"] is row["gflop"] is None
    assert "with global motion compensation the flow differs" in row["reason"]


def test_an_unrefined_row_is_of_the_network_alone(tiny_bundle, tmp_path):
    """Of a bundle that asks for refinement; its time is in the table beside that of the refined."""
    bundle = shutil.copytree(tiny_bundle, tmp_path / "refined")
    write_manifest(bundle, replace(read_manifest(bundle), refine="variational"))
    arguments = ["--bundle", str(bundle), "--sizes", "64x96", "--precisions", "fp32"]
    _, result = run(*arguments, "--backends", "onnxruntime,onnxruntime (unrefined)")
    pair = resize_pair(motorcycle(), 64, 96)
    for row, refine in zip(result["rows"], ("variational", "none"), strict=True):
        with engine.load(bundle, backend="onnxruntime", threads=1, refine=refine) as loaded:
            flow = loaded.infer(pair.image1, pair.image2)
        assert row["epe"] == pytest.approx(mean_epe(flow[None], pair.flow[None], pair.valid[None]))
    assert "without refinement the flow differs" in result["rows"][1]["reason"]


def test_streams_with_and_without_reuse(tiny_bundle, tiny_split_bundle, no_reference):
    backends = ["onnxruntime", "onnxruntime (stream)", "onnxruntime (stream+reuse)"]
    given = ["--bundle", str(tiny_bundle), "--bundle", str(tiny_split_bundle)]
    code, result = run(
        *given, "--sizes", "40x100", "--backends", ",".join(backends), "--precisions", "fp32"
    )
    assert code == 0
    assert [row["network"] for row in result["rows"]] == ["tiny"] * 3
    assert [row["status"] for row in result["rows"]] == ["ok"] * 3
    assert len({round(row["epe"], 4) for row in result["rows"]}) == 1
    (line,) = [line for line in result["summary"] if line.startswith("stream")]
    assert "tiny fp32 in onnxruntime, 40x100: " in line


def test_a_row_that_its_network_does_not_support_is_skipped(tiny_bundle, monkeypatch):
    """FlowNetS has no features to reuse: the builder refuses, which is not a failure."""

    def refuse(*arguments):
        raise RefusedError("--split: leave it out")

    monkeypatch.setattr("bench.harness.bundles.Bundles.weights_for", lambda *_: WEIGHTS)
    monkeypatch.setattr("bench.harness.bundles.run_module", refuse)
    code, result = run(
        "--bundle", str(tiny_bundle), "--sizes", "64x64", "--precisions", "fp32",
        "--backends", "onnxruntime,onnxruntime (stream+reuse)",
    )  # fmt: skip
    assert code == 0
    plain, reusing = result["rows"]
    assert plain["status"] == "ok"
    assert (reusing["status"], reusing["reason"]) == ("skipped", "--split: leave it out")


def test_a_row_that_fails_is_kept(tiny_bundle, tmp_path, capsys, no_reference):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "broken"))
    (bundle / "model.onnx").write_bytes(b"")
    arguments = ["--network", "tiny", "--bundle", str(bundle), "--sizes", "64x64"]
    code, result = run(*arguments, "--backends", "onnxruntime,opencv", "--precisions", "fp32")
    assert code == 1
    failed, *others = result["rows"]
    assert failed["status"] == "failed"
    assert "BundleError" in failed["reason"]
    assert failed["latency_ms"] is None
    assert failed["fps"] is None
    assert {row["status"] for row in others} == {"ok"}
    assert "failed: tiny fp32 on onnxruntime: BundleError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "error: nowhere does not exist; expected a folder of pictures"),
        (["--bundle", "nowhere"], "error: nowhere is not a bundle"),
        (["--backends", "nothing"], "error: unknown backend 'nothing'"),
    ],
)
def test_requests_that_cannot_be_met(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--report"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("folder", "'folder' is a folder; expected the name of a file"),
        ("file/new/out", "file is not a folder"),
        ("sealed/new/out", "sealed is not writable"),
    ],
)
def test_output_files_are_checked_before_the_measurement(
    option, path, message, tmp_path, capsys, monkeypatch
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "sealed").mkdir()
    (tmp_path / "file").touch()
    # Permissions do not restrict root, who may run the tests.
    monkeypatch.setattr("os.access", lambda place, mode: "sealed" not in str(place))
    monkeypatch.setattr("bench.compare.load_pairs", lambda *_, **__: pytest.fail("it went on"))
    assert main([option, path]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: argument {option}: ")
    assert error.endswith(f"{message}\n")
    assert error.count("\n") == 1


def test_a_full_disk_does_not_lose_the_printed_results(capsys, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("bench.cli.write_atomically", full)
    arguments = ["--data", "motorcycle", "--sizes", "64x64", "--backends", "opencv"]
    assert main([*arguments, "--seconds", "0.01", "--json", "result.json"]) == 2
    printed = capsys.readouterr()
    assert "dis_medium" in printed.out
    assert printed.err == (
        "error: [Errno 28] No space left on device: 'result.json'; the printed results "
        "above are complete\n"
    )


def test_a_bug_shows_its_traceback(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("bench.compare.load_pairs", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["--backends", "opencv"])


def test_a_network_that_does_not_exist(capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert main(["--network", "flownets_slmi", "--backends", "onnxruntime"]) == 2
    error = capsys.readouterr().err
    assert "'flownets_slmi'" in error
    assert "Did you mean 'flownets_slim'?" in error


def _lives(group):
    """Whether the group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_a_terminated_run_leaves_nothing(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.compare", "--backends", "opencv", "--sizes", "64x64",
         "--seconds", "5000", "--threads", "1"],
        env=child_environment(TMPDIR=str(temporary)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        while not list(temporary.glob("*/timed.npz")) and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=60) == 143
        assert not list(temporary.iterdir())
        deadline = time.monotonic() + 60
        while _lives(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _lives(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_list_runs_nothing(capsys):
    assert main(["--list", "--backends", "opencv,tensorrt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "dis_fast opencv fp32 384x512 batch 1" in lines
