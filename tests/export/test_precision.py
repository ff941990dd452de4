import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.deployable import Deployable
from export.precision import HalfNetwork, store_in_half
from export.spec import SPECS
from tests.export.runtimes import RUNTIMES, Runner, random_images
from training.networks.flownets import FlowNetS


@pytest.fixture(scope="module")
def compact(exported: onnx.ModelProto) -> onnx.ModelProto:
    model = copy.deepcopy(exported)
    store_in_half(model)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_storing_in_half_changes_no_bit_of_the_flow(
    runtime: Runner, exported: onnx.ModelProto, compact: onnx.ModelProto
) -> None:
    images = random_images(1, 128, 192)
    expected = runtime(exported)(*images)
    np.testing.assert_array_equal(runtime(compact)(*images), expected)


def test_storing_in_half_saves_half(exported: onnx.ModelProto, compact: onnx.ModelProto) -> None:
    before, after = (_weight_bytes(model) for model in (exported, compact))
    assert after < 0.51 * before


def test_stored_values_are_the_weights(exported: onnx.ModelProto, compact: onnx.ModelProto) -> None:
    originals = {tensor.name: tensor for tensor in exported.graph.initializer}
    stored = {tensor.name: tensor for tensor in compact.graph.initializer}
    for node in compact.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            half = numpy_helper.to_array(stored[node.input[0]])
            assert half.dtype == np.float16
            original = numpy_helper.to_array(originals[node.output[0]])
            assert half.astype(np.float32).tobytes() == original.tobytes()


@pytest.mark.parametrize("value", [0.1, 1e6, np.nan, 1e-9])
def test_what_float16_cannot_hold_stays_float32(value: float) -> None:
    weights = np.ones(1000, np.float32)
    weights[17] = value
    model = _model_adding(weights)
    before = model.SerializeToString()
    store_in_half(model)
    assert model.SerializeToString() == before


def test_small_tensors_stay_as_they_are() -> None:
    model = _model_adding(np.ones(4, np.float32))
    before = model.SerializeToString()
    store_in_half(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("kind", ["QuantizeLinear", "DequantizeLinear"])
def test_the_scales_of_int8_stay_constants(kind: str) -> None:
    """However many channels they are for: runtimes know no quantisation with computed scales."""
    before, after = TensorProto.FLOAT, TensorProto.INT8
    if kind == "DequantizeLinear":
        before, after = after, before
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "scales", "zeros"], ["y"], axis=0)],
        "quantises",
        [helper.make_tensor_value_info("x", before, [1000, 3])],
        [helper.make_tensor_value_info("y", after, [1000, 3])],
        [
            numpy_helper.from_array(np.full(1000, 0.5, np.float32), "scales"),
            numpy_helper.from_array(np.zeros(1000, np.int8), "zeros"),
        ],
    )
    model = helper.make_model(graph)
    expected = model.SerializeToString()
    store_in_half(model)
    assert model.SerializeToString() == expected


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_half_graph_is_close_to_fp32_pytorch(
    runtime: Runner, half_exported: onnx.ModelProto, deployable: Deployable
) -> None:
    image1, image2 = random_images(2, 128, 192)
    with torch.inference_mode():
        expected = deployable(torch.from_numpy(image1), torch.from_numpy(image2)).numpy()
    distance = np.linalg.norm(runtime(half_exported)(image1, image2) - expected, axis=-1)
    assert distance.mean() < SPECS["flownets"].tolerances["fp16"].relative * np.abs(expected).mean()


def test_precision_is_in_the_graph(half_exported: onnx.ModelProto) -> None:
    """No flag and no runtime decides: all convolutions are half, but for the finest head."""
    inferred = onnx.shape_inference.infer_shapes(half_exported, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    convolutions = [
        node for node in half_exported.graph.node if node.op_type in ("Conv", "ConvTranspose")
    ]
    in_float = [node for node in convolutions if types[node.output[0]] == TensorProto.FLOAT]
    assert len(convolutions) == 23
    assert [node.input[1] for node in in_float] == ["network.network.predict_flow2.module.weight"]


def test_the_fp32_network_is_left_as_it_is(network: FlowNetS) -> None:
    HalfNetwork(network, fp32_islands=("predict_flow2",))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def _weight_bytes(model: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def _model_adding(weights: np.ndarray) -> onnx.ModelProto:
    shape = list(weights.shape)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "weights"], ["y"])],
        "adds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph)
