"""Operators of this package in place of standard ones, as the file's metadata name them."""

import numpy as np
import onnx
import pytest

from engine.backends.onnx_graphs import OPERATORS
from engine.backends.openvino import operators
from engine.backends.openvino.operators import with_operators
from engine.backends.openvino.runtime import core_of
from engine.backends.openvino.session import OpenVINOSession

openvino = pytest.importorskip("openvino", reason="openvino is an optional extra")

GRAPH = """<ir_version: 9, opset_import: ["": 18]>
twice (float[n,6,h,w] planes) => (float[n,6,a,b] quartered) {
    halved = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(planes)
    quartered = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(halved)
}"""
LINES = ["halve_images planes halved", "halve_images halved quartered"]


@pytest.fixture
def planes(rng):
    return rng.normal(size=(2, 6, 8, 12)).astype(np.float32)


def model_with(lines):
    """Read the graph as OpenVINO does, with these lines in its metadata."""
    model = onnx.parser.parse_model(GRAPH)
    if lines is not None:
        onnx.helper.set_model_props(model, {OPERATORS: "\n".join(lines)})
    return core_of(openvino).read_model(model.SerializeToString())


def kinds(model):
    return sorted(
        node.get_type_name()
        for node in model.get_ops()
        if node.get_type_name() in ("AvgPool", "halve_images")
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (LINES, ["halve_images"] * 2),
        (LINES[1:], ["AvgPool", "halve_images"]),
        ([LINES[0], "operator_of_a_later_version halved quartered"], ["AvgPool", "halve_images"]),
        ([LINES[0], "halve_images left_out quartered"], ["AvgPool", "halve_images"]),
        ([], ["AvgPool"] * 2),
        (None, ["AvgPool"] * 2),
    ],
)
def test_what_the_metadata_name_is_replaced(lines, expected, planes):
    """Other operators, and tensors that are not there, are left as they are."""
    model, fault = with_operators(openvino, model_with(lines))
    assert (kinds(model), fault) == (expected, "")
    result = core_of(openvino).compile_model(model, "CPU")(planes)[0]
    means = planes.reshape(2, 6, 2, 4, 3, 4).mean((3, 5))
    np.testing.assert_allclose(result, means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        ["halve_images"],  # of nothing
        ["halve_images planes"],
        ["", *LINES],
        ["derivatives planes halved"],  # of two planes
        ["halve_images quartered halved"],  # what it reads comes from what it replaces
        ["halve_images planes planes halved"],
    ],
)
def test_metadata_that_cannot_be_are_an_error(lines):
    with pytest.raises((RuntimeError, ValueError)):
        with_operators(openvino, model_with(lines))


def test_without_the_library_a_model_stays_as_it_is(tmp_path, monkeypatch, planes):
    monkeypatch.setattr(operators, "_LIBRARY", tmp_path / "_operators.so")
    operators.operators_of.cache_clear()
    model, fault = with_operators(openvino, model_with(LINES))
    assert (kinds(model), fault) == (
        ["AvgPool"] * 2,
        "they were not compiled when it was installed (docs/install.md)",
    )
    assert with_operators(openvino, model_with(None))[1] == ""  # it does not need them
    (tmp_path / "_operators.so").write_bytes(b"of another OpenVINO")
    operators.operators_of.cache_clear()
    model, fault = with_operators(openvino, model_with(LINES))
    assert kinds(model) == ["AvgPool"] * 2
    assert fault.startswith(f"openvino {openvino.__version__.split('-')[0]} does not load them: ")
    operators.operators_of.cache_clear()


def test_the_session_says_what_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    model = onnx.parser.parse_model(GRAPH)
    onnx.helper.set_model_props(model, {OPERATORS: "\n".join(LINES)})
    onnx.save(model, path)
    assert OpenVINOSession(openvino, path, threads=1).arithmetic == "float32"
    monkeypatch.setattr(operators, "operators_of", lambda openvino: (None, "a reason"))
    assert OpenVINOSession(openvino, path, threads=1).arithmetic == (
        "float32; without this package's operators, slower: a reason"
    )
