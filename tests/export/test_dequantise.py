"""Quantised graphs in float."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.graph.dequantise import float_from_int8
from tests.support.tiny_network import affine_flow, tiny_int8_model, tiny_model


def run(model, **inputs):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


def test_tiny_network(rng):
    model = float_from_int8(tiny_int8_model(64))
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}
    assert not any(each.data_type == TensorProto.INT8 for each in model.graph.initializer)
    images = rng.integers(0, 256, (2, 1, 64, 64, 3), np.uint8)  # odd ones too: nothing is rounded
    flow = run(model, image1=images[0], image2=images[1])
    np.testing.assert_allclose(flow, affine_flow(*images), atol=1e-4)


def test_a_float_graph_stays():
    model = tiny_model()
    assert float_from_int8(model) is model


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_by_channel(axis):
    codes = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)
    scales = np.array([0.5, 2, 4][: codes.shape[axis]], np.float32)
    zeros = np.array([1, 0, -1][: codes.shape[axis]], np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["w"], axis=axis),
            helper.make_node("Add", ["x", "w"], ["y"]),
        ],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [
            numpy_helper.from_array(array, name)
            for name, array in (("codes", codes), ("scales", scales), ("zeros", zeros))
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    result = float_from_int8(model)
    assert [node.op_type for node in result.graph.node] == ["Add"]
    x = np.zeros(1, np.float32)
    np.testing.assert_array_equal(run(result, x=x), run(model, x=x))
    by_hand = {
        0: [[-2, -1.5, -1], [0, 2, 4]],
        1: [[-2, -4, 0], [-0.5, 2, 12]],
    }[axis]
    np.testing.assert_array_equal(run(result, x=x), by_hand)
    onnx.checker.check_model(result)
