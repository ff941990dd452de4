"""The results of the machine's matrix products; no test asserts a rate."""

import json

import numpy as np
import pytest

from bench.machine import peaks as module
from bench.machine.peaks import (
    Product,
    highest,
    measure_peaks,
    not_measured,
    numpy_product,
    openvino_product,
    peaks,
)
from engine.errors import BackendError, BackendNotInstalledError
from tests.support.cpu import needs_int8

SMALL = {
    ("MatMul", "fp32"): ((8, 32), (32, 16)),
    ("MatMul", "int8"): ((16, 64), (64, 32)),
    ("Convolution", "fp32"): ((1, 16, 6, 6), (16, 16, 3, 3)),
    ("Convolution", "int8"): ((1, 32, 6, 6), (32, 32, 3, 3)),
}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "SHAPES", SMALL)
    monkeypatch.setattr(module, "ROUNDS", 1)


def expected(operator, data, weights):
    """The convolution in integers, as a loop over its taps."""
    if operator == "MatMul":
        return data @ weights
    taps = [
        np.einsum("nchw,oc->nohw", data[:, :, y : y + 4, x : x + 4], weights[:, :, y, x])
        for y in range(3)
        for x in range(3)
    ]
    return sum(taps)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("operator", "precision"),
    [pytest.param(*key, marks=needs_int8 if key[1] == "int8" else ()) for key in SMALL],
)
def test_openvino_computes_the_whole_product(operator, precision):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    product = openvino_product(operator, precision, threads=1)
    data_shape, weights_shape = SMALL[operator, precision]
    data = np.random.default_rng(0).integers(0, 256, data_shape, np.uint8).astype(np.int64)
    weights = np.random.default_rng(1).integers(-64, 64, weights_shape, np.int8).astype(np.int64)
    # Sums of halves below 2 ** 24: exact in float32.
    np.testing.assert_array_equal(product.call()[0], expected(operator, data, weights) / 2)
    # Rows, columns and inner size; or positions, output channels and inputs of each.
    operations = {
        ("MatMul", "fp32"): 2 * 8 * 16 * 32,
        ("MatMul", "int8"): 2 * 16 * 32 * 64,
        ("Convolution", "fp32"): 2 * (4 * 4 * 16) * (16 * 9),
        ("Convolution", "int8"): 2 * (4 * 4 * 32) * (32 * 9),
    }
    assert product.operations == operations[operator, precision]
    assert product.precision == precision


@pytest.mark.usefixtures("small")
def test_a_product_in_another_precision_is_rejected(monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    model = module._model
    monkeypatch.setattr(module, "amx_fault", lambda: None)
    monkeypatch.setattr(module, "SHAPES", SMALL | {("MatMul", "int8"): SMALL["MatMul", "fp32"]})
    monkeypatch.setattr(module, "_model", lambda openvino, *_: model(openvino, "MatMul", "fp32"))
    with pytest.raises(BackendError, match=r"runs MatMul as \w+f32 here, which is not int8"):
        openvino_product("MatMul", "int8", threads=1)


def test_int8_is_not_measured_where_the_cpu_does_not_compute_it(monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(module, "amx_fault", lambda: "Old lists AMX")
    with pytest.raises(BackendError, match=r"does not run MatMul in int8: Old lists AMX\."):
        openvino_product("MatMul", "int8", threads=1)


@pytest.mark.usefixtures("small")
def test_numpy_computes_the_whole_product():
    product = numpy_product()
    one, other = product.call.args
    np.testing.assert_allclose(product.call(), one.astype(np.float64) @ other, rtol=1e-4, atol=1e-4)
    assert product.operations == 2 * 8 * 32 * 16


def test_a_rate_is_that_of_the_fastest_call():
    # 6e9 operations in 2 ms are 3e12 per second.
    assert Product("fp32", "", 6 * 10**9, lambda: None, [4.0, 2.0, 9.0]).rate == 3000


@pytest.mark.usefixtures("small")
def test_the_fastest_product_counts(monkeypatch):
    def product(precision, rate):
        return Product(precision, f"{rate} of {precision}", rate * 10**6, lambda: None)

    monkeypatch.setattr(module, "timed_ms", lambda call, seconds: [1.0])
    monkeypatch.setattr(module, "numpy_product", lambda: product("fp32", 5))
    rates = {"MatMul": {"fp32": 7, "int8": 20}, "Convolution": {"fp32": 6, "int8": 30}}
    monkeypatch.setattr(
        module,
        "openvino_product",
        lambda operator, precision, threads: product(precision, rates[operator][precision]),
    )
    assert peaks(threads=1, seconds=1.0) == {
        "fp32_gflops": 7.0,
        "int8_gops": 30.0,
        "how": {"fp32": "7 of fp32", "int8": "30 of int8"},
    }


@pytest.mark.usefixtures("small")
def test_without_openvino(monkeypatch):
    def refuse(*arguments, **options):
        raise BackendNotInstalledError("no such package")

    monkeypatch.setattr(module, "import_openvino", refuse)
    found = peaks(threads=1, seconds=0.001)
    assert found["fp32_gflops"] > 0
    assert found["how"]["fp32"].startswith("matmul 8x32 by 32x16 in numpy")
    assert (found["int8_gops"], found["how"]["int8"]) == (None, "no such package")


def test_in_a_process_of_its_own(monkeypatch):
    asked = {}

    def answer(name, *arguments, **environment):
        asked.update(name=name, arguments=arguments, environment=environment)
        return json.dumps(not_measured("a test"))

    monkeypatch.setattr(module, "run_module", answer)
    assert measure_peaks(threads=3, seconds=0.5)["how"]["int8"] == "a test"
    assert asked == {
        "name": "bench.machine.peaks",
        "arguments": ("--threads", "3", "--seconds", "0.5"),
        "environment": {"OMP_NUM_THREADS": "3"},
    }


def test_a_failed_process_is_reported():
    found = measure_peaks(threads=0, seconds=0.5)
    assert (found["fp32_gflops"], found["int8_gops"]) == (None, None)
    assert "'0' is not a count" in found["how"]["fp32"]


def test_the_highest_of_two_measurements():
    early = {"fp32_gflops": 200.0, "int8_gops": None, "how": {"fp32": "a", "int8": "b"}}
    late = {"fp32_gflops": 100.0, "int8_gops": 800.0, "how": {"fp32": "c", "int8": "d"}}
    assert highest(early, late) == {
        "fp32_gflops": 200.0,
        "int8_gops": 800.0,
        "how": {"fp32": "a", "int8": "d"},
    }
    assert highest(not_measured("x"), not_measured("x")) == not_measured("x")
