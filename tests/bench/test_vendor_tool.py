"""Beside OpenVINO's own tool, on the tiny bundle; what is tested is the reading, never a time."""

import re

import pytest

from bench.vendor_tool import Options, main, run_tool

pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("bench.vendor_tool.ROUNDS", 1)
    monkeypatch.setattr("bench.vendor_tool.PAUSE_SECONDS", 0.0)


def test_both_take_turns(tiny_bundle, capsys):
    arguments = ["--bundle", str(tiny_bundle), "--size", "100x200", "--seconds", "0.1"]
    assert main([*arguments, "--threads", "1"]) == 0
    title, engine, tool, ratio, *rest = capsys.readouterr().out.splitlines()
    assert title == "tiny fp32, 100x200, 1 threads, medians"
    assert not rest
    engine_ms, tool_ms = (float(re.findall(r"[0-9.]+", line)[0]) for line in (engine, tool))
    # Of the printed ratio, its own half digit and those of both times.
    digits = 0.0005 + 0.005 / tool_ms * (1 + engine_ms / tool_ms) * 1.1
    assert float(ratio.split()[1]) == pytest.approx(engine_ms / tool_ms, abs=digits)


TOOL = """
import json, sys
arguments = sys.argv[1:]
given = dict(zip(arguments[::2], arguments[1::2], strict=True))
assert given["-shape"] == "image1[1,128,64,3],image2[1,128,64,3]", given
assert (given["-nthreads"], given["-t"], given["-infer_precision"]) == ("3", "2", "f32"), given
with open(given["-report_folder"] + "/benchmark_report.json", "w") as file:
    json.dump({"execution_results": {"latency (ms)": "12.34", "avg latency": "99"}}, file)
"""


def test_what_the_tool_is_told_and_says(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.vendor_tool.PROGRAM", TOOL)
    options = Options(tiny_bundle, (100, 64), threads=3, seconds=1.5)
    assert run_tool(tiny_bundle / "model.onnx", (128, 64), options, tmp_path) == 12.34


def test_a_tool_that_fails_is_told(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.vendor_tool.PROGRAM", "print('chatter'); raise SystemExit('no CPU')")
    options = Options(tiny_bundle, (64, 64), threads=1, seconds=1)
    with pytest.raises(RuntimeError, match="benchmark_app failed with exit code 1: no CPU"):
        run_tool(tiny_bundle / "model.onnx", (64, 64), options, tmp_path)


def test_requests_that_cannot_be_met(tiny_split_bundle, tmp_path, monkeypatch, capsys):
    assert main(["--bundle", str(tmp_path)]) == 2
    assert f"error: {tmp_path} is not a bundle" in capsys.readouterr().err
    assert main(["--bundle", str(tiny_split_bundle)]) == 2
    assert "needs model.onnx; the bundle" in capsys.readouterr().err
    assert main(["--size", "384"]) == 2
    assert "'384' is no size" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 2
    assert "error: openvino is not installed: pip install" in capsys.readouterr().err
