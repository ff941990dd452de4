"""Convolutions written as transposed ones, against the convolutions themselves."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.graph.deployable import Deployable
from export.graph.flow_heads import split_heads, transpose_heads
from export.graph.onnx_from_torch import onnx_from_torch
from training.networks import build_network
from training.normalise import FixedMean

SAME = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "auto_pad": "NOTSET"}


def convolution(weight, *, readers=1, **attributes):
    """A model of one convolution, or of several with the same weight."""
    kernel = list(weight.shape[2:])
    chosen = SAME | {"kernel_shape": kernel, "pads": [k // 2 for k in kernel * 2]} | attributes
    value = helper.make_tensor_value_info
    names = [f"y{i}" for i in range(readers)]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight", "bias"], [name], **chosen) for name in names],
        "graph",
        [value("x", TensorProto.FLOAT, [None] * 4)],
        [value(name, TensorProto.FLOAT, [None] * 4) for name in names],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.arange(len(weight), dtype=np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def kinds(model):
    return [node.op_type for node in model.graph.node]


@settings(deadline=None)
@given(
    channels=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    kernel=st.tuples(st.sampled_from((1, 3, 5)), st.sampled_from((1, 3, 5))),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
)
def test_the_sums_are_the_same(channels, kernel, size, seed):
    generator = np.random.default_rng(seed)
    inputs, outputs = channels
    # Whole numbers: their sums are exact in any order.
    weight = generator.integers(-9, 9, (outputs, inputs, *kernel)).astype(np.float32)
    image = generator.integers(-9, 9, (2, inputs, *size)).astype(np.float32)
    model = convolution(weight)
    expected = torch.nn.functional.conv2d(
        torch.tensor(image), torch.tensor(weight), torch.arange(outputs).float(), padding="same"
    )
    transpose_heads(model)
    for count in 1, 1 + (1 not in kernel):
        assert kinds(model) == ["ConvTranspose"] * count
        onnx.checker.check_model(model, full_check=True)
        found = ReferenceEvaluator(model).run(None, {"x": image})[0]
        np.testing.assert_array_equal(found, expected.numpy())
        split_heads(model)


@pytest.mark.parametrize(
    ("outputs", "kernel", "changes"),
    [
        (5, 3, {}),
        (2, 3, {"strides": [2, 2]}),
        (2, 3, {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        (2, 3, {"group": 2}),
        (2, 3, {"pads": [0, 0, 0, 0]}),
        (2, 3, {"pads": [1, 1, 0, 0]}),
        (2, 2, {}),
        (2, 3, {"auto_pad": "SAME_UPPER"}),
    ],
)
def test_others_stay_as_they_are(outputs, kernel, changes):
    weight = np.ones((outputs, 4, kernel, kernel), np.float32)
    model = convolution(weight, **changes)
    before = model.SerializeToString(deterministic=True)
    transpose_heads(model)
    split_heads(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_head_that_is_applied_twice():
    weight = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3)
    model = convolution(weight, readers=2)
    transpose_heads(model)
    assert kinds(model) == ["ConvTranspose"] * 2
    (flipped,) = (x for x in model.graph.initializer if len(x.dims) == 4)
    expected = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(flipped), expected)
    image = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    whole = ReferenceEvaluator(model).run(None, {"x": image})
    split_heads(model)
    assert kinds(model) == ["ConvTranspose"] * 4
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(ReferenceEvaluator(model).run(None, {"x": image}), whole)


def test_heads_in_int8_and_in_half_precision_stay_whole():
    model = convolution(np.ones((2, 4, 3, 3), np.float16))
    transpose_heads(model)
    before = model.SerializeToString(deterministic=True)
    split_heads(model)
    assert model.SerializeToString(deterministic=True) == before
    model = convolution(np.ones((2, 4, 3, 3), np.float32))
    transpose_heads(model)
    (head,) = model.graph.node
    head.input[1] = "dequantised"
    scaled = helper.make_node("DequantizeLinear", ["weight", "scale"], ["dequantised"])
    model.graph.node.insert(0, scaled)
    split_heads(model)
    assert kinds(model) == ["DequantizeLinear", "ConvTranspose"]


def test_a_head_that_is_also_applied_at_stride_2():
    model = convolution(np.ones((2, 4, 3, 3), np.float32), readers=2)
    (strides,) = (x for x in model.graph.node[1].attribute if x.name == "strides")
    strides.ints[:] = [2, 2]
    before = model.SerializeToString(deterministic=True)
    transpose_heads(model)
    assert model.SerializeToString(deterministic=True) == before


def test_all_heads_of_a_network():
    network = build_network("flownets_slim", seed=0)
    model = onnx_from_torch(Deployable(network, FixedMean()), metadata={})
    heads = [node for node in model.graph.node if "predict_flow" in "".join(node.input)]
    assert len(heads) == 5
    assert {node.op_type for node in heads} == {"ConvTranspose"}
