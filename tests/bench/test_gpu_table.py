"""The README's table, from results as ``bench.compare`` writes them."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import gpu_table
from bench.gpu_table import BEGIN, END, main, table, write_table

ENVIRONMENT = {"gpu": "NVIDIA X, 580.1, 9.0", "commit": "abc1234"}


def row(backend, latency, device, *, precision="fp16", network="flownets", status="ok", **more):
    return {
        "network": network,
        "backend": backend,
        "runtime_version": "1.2",
        "precision": precision,
        "device": "cuda:0" if status == "ok" else None,
        "height": 384,
        "width": 512,
        "batch": 1,
        "status": status,
        "reason": None,
        "latency_ms": {"p50": latency} if status == "ok" else None,
        "device_ms": {"p50": device} if status == "ok" and device else None,
        "epe": None,
        "epe_vs_reference": 0.012,
        **more,
    }


ROWS = [
    row("pytorch-cuda", 2.5, 1.5, precision="fp32", epe=7.4956, epe_vs_reference=0.0),
    row("pytorch-cuda", 1.9, 0.9),
    row("tensorrt", 0.55, 0.3),
    row("onnxruntime-cuda", 1.25, None),
    row("tensorrt", 9.0, 8.0, batch=4),
    row("tensorrt", 7.0, 6.0, height=448, width=1024),
    row("tensorrt", 0.2, 0.1, network="flownets_slim", reason="other\nweights"),
    row("onnxruntime", 50.0, None),
    *[
        row("tensorrt", 0, 0, precision="int8", status="skipped", reason="no\n plan <!--", batch=n)
        for n in (1, 4)
    ],
]
RESULT = {"environment": ENVIRONMENT, "rows": ROWS}


def test_the_table_by_hand():
    lines = table(RESULT, None, "bench/results/x.json").splitlines()
    start = lines.index("|---|---|---|---|---|---|---|") + 1
    assert lines[start : start + 5] == [
        "| flownets fp16 | tensorrt 1.2 | 0.550 | 0.300 | 3.00 | – | 0.012 |",  # noqa: RUF001
        "| flownets fp16 | onnxruntime-cuda 1.2 | 1.25 | – | – | – | 0.012 |",  # noqa: RUF001
        "| flownets fp16 | pytorch-cuda 1.2 | 1.90 | 0.900 | 1.00 | – | 0.012 |",  # noqa: RUF001
        "| flownets fp32 | pytorch-cuda 1.2 | 2.50 | 1.50 | 0.60 | 7.50 | 0 |",
        "| flownets_slim fp16 | tensorrt 1.2 | 0.200 | 0.100 | – | – | 0.012 |",  # noqa: RUF001
    ]
    notes, skipped = ["- other weights"], ["- tensorrt (flownets int8): no plan &lt;!--"]
    assert lines[start + 5 :] == ["", *notes, "", "Not run:", "", *skipped]
    caption = " ".join(lines[: start - 2])
    assert caption.startswith("NVIDIA X, 580.1, 9.0 (name, driver, compute capability), 384x512, ")
    assert "`abc1234`; all numbers are in [bench/results/x.json](bench/results/x.json)." in caption


@pytest.mark.parametrize(
    ("trial", "line"),
    [
        (
            {"status": "ok", "said": None, "mean_px": 0.0123},
            "A portable plan of TensorRT for RTX runs there, 0.012 px from fp32 PyTorch.",
        ),
        (
            {"status": "not run", "said": "no\nsm_90", "mean_px": None},
            "A portable plan of TensorRT for RTX does not run there: no sm_90",
        ),
        (
            {"status": "failed", "said": "9 px off", "mean_px": None},
            "A portable plan of TensorRT for RTX fails there: 9 px off",
        ),
    ],
)
def test_what_became_of_the_portable_plan(trial, line):
    assert table(RESULT, trial, "x").splitlines()[-1] == line


@pytest.fixture
def results(tmp_path):
    file = tmp_path / "nvidia-x.json"
    file.write_text(json.dumps(RESULT))
    return file


@settings(max_examples=30, deadline=None)
@example(before="1\r\n2\r", between="\r", after="\x85")
@given(before=st.text(), between=st.text(), after=st.text())
def test_only_what_is_between_the_markers_changes(tmp_path_factory, before, between, after):
    folder = tmp_path_factory.mktemp("table")
    results, readme = folder / "nvidia-x.json", folder / "README.md"
    results.write_text(json.dumps(RESULT))
    before, between, after = (text.encode("utf-8", "ignore") for text in (before, between, after))
    readme.write_bytes(before + BEGIN.encode() + between + END.encode() + after)
    write_table(readme, results)
    written = readme.read_bytes()
    inside = table(RESULT, None, "bench/results/nvidia-x.json")
    assert written == before + f"{BEGIN}\n{inside}{END}".encode() + after
    write_table(readme, results)
    assert readme.read_bytes() == written


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_without_a_place_nothing_is_written(tmp_path, results, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="expected <!-- gpu-table:begin --> and, after it"):
        write_table(readme, results)
    assert readme.read_text() == text


def test_the_command(tmp_path, results, monkeypatch, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(f"# X\n{BEGIN}\nNo GPU has run this yet.\n{END}\n")
    monkeypatch.setattr(gpu_table, "README", readme)
    trial = {"tensorrt_rtx": {"status": "not run", "said": "sm_90 is left out", "mean_px": None}}
    (tmp_path / "nvidia-x-environment.json").write_text(json.dumps(trial))
    assert main([str(results)]) == 0
    assert "does not run there: sm_90 is left out\n<!-- gpu-table:end -->\n" in readme.read_text()
    assert main([str(tmp_path / "none.json")]) == 2
    results.write_text(json.dumps({**RESULT, "rows": ROWS[-3:]}))
    assert main([str(results)]) == 2
    assert "nvidia-x.json: no row ran on a GPU at batch 1" in capsys.readouterr().err


def test_the_readme_has_a_place_for_it():
    text = gpu_table.README.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index("## Results") < text.index(BEGIN) < text.index(END) < text.index("## Limits")
