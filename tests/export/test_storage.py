import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.graph.fp16_storage import restore_from_half, store_in_half
from tests.export.runtimes import RUNTIMES, Runner, random_images


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


@pytest.mark.parametrize("graph", ["exported", "flownetc_exported"])
def test_what_is_restored_is_the_very_same_graph(
    graph: str, request: pytest.FixtureRequest
) -> None:
    original = request.getfixturevalue(graph)
    model = copy.deepcopy(original)
    store_in_half(model)
    assert model.SerializeToString() != original.SerializeToString()
    restore_from_half(model)
    assert model.SerializeToString() == original.SerializeToString()


def test_casts_of_other_tensors_are_not_touched(half_exported: onnx.ModelProto) -> None:
    model = copy.deepcopy(half_exported)
    restore_from_half(model)
    assert model.SerializeToString() == half_exported.SerializeToString()


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
