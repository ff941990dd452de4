"""The implementations in the correlation's benchmark: their list, opening and timers."""

import sys
import weakref
from contextlib import nullcontext

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from bench.correlation import timers  # noqa: E402
from bench.correlation.implementations import (  # noqa: E402
    BASELINES,
    UnavailableError,
    implementations,
    open_implementation,
    shift_and_multiply,
)
from bench.correlation.problem import Problem, Setting  # noqa: E402
from engine.errors import BackendError  # noqa: E402

TINY = Setting(channels=6, height=5, width=7, max_displacement=4, stride_2=2)


def test_the_onnx_form_is_unavailable_without_its_package(monkeypatch):
    (onnx_form,) = (
        each for each in implementations(["fp32"]) if each.name == "ONNX form, ONNX Runtime"
    )
    monkeypatch.setitem(sys.modules, "onnx", None)  # cannot be imported
    with pytest.raises(UnavailableError, match="needs the package onnx, which is not installed"):
        open_implementation(onnx_form, Problem(TINY, threads=1))


def test_a_graph_that_does_not_load_is_a_failure(monkeypatch):
    (onnx_form,) = (
        each for each in implementations(["fp32"]) if each.name == "ONNX form, ONNX Runtime"
    )
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> unknown (float[1] x) => (float[1] y) { y = No(x) }'
    )
    monkeypatch.setattr("kernels.onnx_ops.correlation_model", lambda **_: model)
    with pytest.raises(BackendError, match="cannot load"):
        open_implementation(onnx_form, Problem(TINY, threads=1))


def test_the_gpu_timer_divides_the_time_of_a_graph(monkeypatch):
    calls, replays = [], []

    class Graph:
        def replay(self):
            replays.append(len(calls))

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            self.at = len(replays)

        def synchronize(self):
            assert self.at == len(replays)

        def elapsed_time(self, end):
            return 40.0 * (end.at - self.at)  # ms of one replay

    for name, double in {
        "CUDAGraph": Graph, "Event": Event, "graph": nullcontext, "synchronize": lambda: None
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, double)

    def call():
        calls.append(0)

    reference = weakref.ref(call)
    measure = timers.timer(call, "cuda")
    del call
    assert reference() is not None  # it keeps the arrays alive that every replay uses
    assert len(calls) == 1 + 20  # one before the capture
    samples = measure(0.0)
    assert samples == [2.0] == [40.0 / timers.GRAPH_CALLS]
    assert (len(calls), len(replays)) == (21, 1)


def test_implementations_by_type():
    both = implementations(["fp32", "fp16"])
    assert len({(each.name, *each.kind) for each in both}) == len(both)
    assert {each.device for each in implementations(["fp16"])} == {"cuda"}
    tensor_cores = [each.dtype for each in both if each.name == "CUDA library, tensor cores"]
    assert tensor_cores == ["fp16"]
    for device, name in BASELINES.items():
        assert name in {each.name for each in both if each.device == device}


def test_shift_and_multiply_by_hand():
    f1 = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 1, 2)
    f2 = torch.tensor([5.0, 6.0, 7.0, 8.0]).reshape(1, 2, 1, 2)
    out = shift_and_multiply(f1, f2, 1, 1)
    # Pixel 0 is (1, 3) and (5, 7), pixel 1 is (2, 4) and (6, 8); dy is 0 in the middle three.
    expected = np.zeros((1, 9, 1, 2))
    expected[0, 3] = [[0, (2 * 5 + 4 * 7) / 2]]
    expected[0, 4] = [[(1 * 5 + 3 * 7) / 2, (2 * 6 + 4 * 8) / 2]]
    expected[0, 5] = [[(1 * 6 + 3 * 8) / 2, 0]]
    np.testing.assert_array_equal(out, expected)
