"""Cross-layer scaling of small graphs: factors and weights by hand, and less error from int8."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.backends.onnx_graphs import WHOLE
from export.int8.quantise import int8_from_fp32
from export.int8.scaling import consumers_in, scaled
from tests.export.scaling import changed, constants_of, run
from training.int8.ranges import (
    ActivationStatistics,
    QuantisationParameters,
    choose_parameters,
    mse_range,
)
from training.networks.entry import Int8Recipe


def concatenation(
    *extra: onnx.NodeProto, reader: str = "ConvTranspose", activation: str = "LeakyRelu"
) -> onnx.ModelProto:
    """A skip of magnitude 1, concatenated with channels 16 and 64 times as large, and a reader.

    Args:
        extra: more nodes.
        reader: the kind of that layer.
        activation: after the layer with large outputs.
    """
    generator = np.random.default_rng(3)
    # As in trained networks, large inputs have small weights.
    shares = np.reshape([1, 1, 1 / 16, 1 / 64], _inputs_of(reader))
    weights = {
        "network.skip.weight": generator.normal(size=(2, 3, 3, 3)) / 27**0.5,
        "network.below.weight": generator.normal(size=(2, 3, 3, 3)) / 27**0.5,
        "below.bias": generator.normal(size=2),
        "network.reader.weight": generator.normal(size=(4, 4, 3, 3)) * shares,
    }
    for name in ("network.below.weight", "below.bias"):
        weights[name] *= np.reshape([16, 64], (2, 1, 1, 1)[: weights[name].ndim])
    nodes = [
        convolution("Conv", "skip", "x", "s"),
        convolution("Conv", "below", "x", "b", "below.bias"),
        helper.make_node(activation, ["b"], ["c"], "activation"),
        helper.make_node("Concat", ["s", "c"], ["both"], "both", axis=1),
        convolution(reader, "reader", "both", "y"),
        helper.make_node("Identity", ["s"], ["encoded"], "encoder"),
        *extra,
    ]
    channels = {"x": 3, "y": 4} | {node.output[0]: None for node in nodes[5:]}
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, None, None])
        for name, count in channels.items()
    ]
    constants = [numpy_helper.from_array(x.astype(np.float32), name) for name, x in weights.items()]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def convolution(kind: str, layer: str, source: str, result: str, *bias: str) -> onnx.NodeProto:
    inputs = [source, f"network.{layer}.weight", *bias]
    return helper.make_node(kind, inputs, [result], result, pads=[1, 1, 1, 1])


def _inputs_of(kind: str) -> tuple[int, int, int, int]:
    return (1, 4, 1, 1) if kind == "Conv" else (4, 1, 1, 1)


READER = Int8Recipe(decoder_inputs=("reader",), scaled_layers=("reader",))


def observed(*largest: float) -> dict[str, ActivationStatistics]:
    return {
        "reader": ActivationStatistics(np.zeros((4, 1), np.float32), np.array(largest, np.float32))
    }


def of_reader(model: onnx.ModelProto, *largest: float) -> QuantisationParameters:
    """Parameters for these magnitudes of the reader's input channels."""
    return choose_parameters(consumers_in({WHOLE: model}), observed(*largest), READER)


def test_factors_and_ranges_by_hand() -> None:
    """The median of the unscaled channels, 3 and 1, is 2; the others are 8 and 32 times that."""
    chosen = of_reader(concatenation(), 3, 1, 16, 64)
    assert chosen.factors.keys() == {"below"}
    np.testing.assert_allclose(chosen.factors["below"], np.sqrt([8, 32]))
    assert chosen.ranges == {"reader": pytest.approx(0.8 * 64 / np.sqrt(32))}


def test_a_channel_of_zeros_keeps_the_factor_1() -> None:
    chosen = of_reader(concatenation(), 2, 2, 0, 8)
    np.testing.assert_allclose(chosen.factors["below"], [1, 2])
    chosen = of_reader(concatenation(), 0, 0, 0, 0)
    np.testing.assert_allclose(chosen.factors["below"], [1, 1])
    assert chosen.ranges["reader"] > 0


@pytest.mark.parametrize("reader", ["Conv", "ConvTranspose"])
def test_weights_by_hand(reader: str) -> None:
    model = concatenation(reader=reader)
    factors = np.array([4, 2], np.float32)
    before = constants_of(model)
    after = constants_of(scaled(model, {"below": factors, "in another graph": factors}))
    for name, by in {
        "network.skip.weight": np.ones(1),
        "network.below.weight": 1 / factors.reshape(2, 1, 1, 1),
        "below.bias": 1 / factors,
        "network.reader.weight": np.reshape([1, 1, 4, 2], _inputs_of(reader)),
    }.items():
        np.testing.assert_array_equal(after[name], before[name] * by, err_msg=name)


def test_a_layer_without_a_concatenation_by_hand() -> None:
    """Channels of magnitude 4 and 16 become 2 and 4."""
    weights = np.ones((2, 3, 1, 1), np.float32), np.ones((2, 2, 1, 1), np.float32)
    names = ("network.first.weight", "network.second.weight")
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, None, None])
        for name, count in (("x", 3), ("y", 2))
    ]
    nodes = [
        helper.make_node("Conv", ["x", names[0]], ["a"], "first"),
        helper.make_node("LeakyRelu", ["a"], ["b"], "leaky"),
        helper.make_node("Conv", ["b", names[1]], ["y"], "second"),
    ]
    constants = [numpy_helper.from_array(x, name) for x, name in zip(weights, names, strict=True)]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    sample = np.float32([[-4, 1, 2], [16, 0, 8]])
    seen = {"second": ActivationStatistics(sample, np.abs(sample).max(1))}
    recipe = Int8Recipe(scaled_layers=("second",))
    chosen = choose_parameters(consumers_in({WHOLE: model}), seen, recipe)
    assert chosen.factors.keys() == {"first"}
    np.testing.assert_array_equal(chosen.factors["first"], [2, 4])
    kept = 0.7 * mse_range(np.float32([-2, 0.5, 1, 4, 0, 2]))
    assert chosen.ranges == {"second": pytest.approx(kept)}
    after = constants_of(scaled(model, chosen.factors))
    assert after[names[0]][:, 0].ravel().tolist() == [1 / 2, 1 / 4]
    assert after[names[1]][0].ravel().tolist() == [2, 4]


def test_scaling_lowers_the_error_of_int8() -> None:
    model = concatenation()
    image = np.random.default_rng(5).normal(size=(1, 3, 32, 32)).astype(np.float32)
    s, c = run(with_outputs(model, "s", "c"), image)
    largest = [float(np.abs(x).max()) for x in (*s[0], *c[0])]
    chosen = of_reader(model, *largest)
    others = {"skip": 6.0, "below": 6.0}
    plain = int8_from_fp32(model, others | {"reader": max(largest)}, ())
    better = int8_from_fp32(scaled(model, chosen.factors), others | chosen.ranges, ())
    expected = run(model, image)[0]
    lost, left = (np.abs(run(x, image)[0] - expected).mean() for x in (plain, better))
    assert lost > 2 * left


@pytest.mark.parametrize(
    "model",
    [
        concatenation(activation="Sigmoid"),
        concatenation(helper.make_node("Identity", ["c"], ["other"], "reads below")),
        concatenation(helper.make_node("Identity", ["both"], ["other"], "reads both")),
        concatenation(convolution("Conv", "below", "x", "other")),
        concatenation(convolution("ConvTranspose", "reader", "both", "other")),
    ],
    ids=["not homogeneous", "read elsewhere", "no convolution", "same weights", "same reader"],
)
def test_layers_that_cannot_be_compensated_are_not_scaled(model: onnx.ModelProto) -> None:
    assert not of_reader(model, 3, 1, 16, 64).factors
    with pytest.raises(ValueError, match="in this graph the outputs of below cannot be scaled"):
        scaled(model, {"below": np.array([4, 2], np.float32)})


def test_a_layer_that_is_applied_twice() -> None:
    """As from coarse to fine: both times it has the same consumer, here behind a crop."""
    names = ("network.first.weight", "network.second.weight")
    weights = np.ones((2, 3, 1, 1), np.float32), np.ones((2, 2, 1, 1), np.float32)
    crop = {"starts": [0, 0], "ends": [3, 2], "axes": [2, 3]}
    nodes = [
        node
        for index in "12"
        for node in (
            helper.make_node("Conv", [f"x{index}", names[0]], [f"a{index}"], f"first{index}"),
            helper.make_node("Slice", [f"a{index}", *crop], [f"b{index}"], f"crop{index}"),
            helper.make_node("Conv", [f"b{index}", names[1]], [f"y{index}"], f"second{index}"),
        )
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, None, None])
        for name, count in (("x1", 3), ("x2", 3), ("y1", 2), ("y2", 2))
    ]
    constants = [numpy_helper.from_array(x, name) for x, name in zip(weights, names, strict=True)]
    constants += [numpy_helper.from_array(np.array(x, np.int64), name) for name, x in crop.items()]
    graph = helper.make_graph(nodes, "twice", ports[:2], ports[2:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    factors = {"first": np.array([4, 2], np.float32)}
    after = constants_of(scaled(model, factors))
    assert after[names[0]][:, 0].ravel().tolist() == [1 / 4, 1 / 2]
    assert after[names[1]][0].ravel().tolist() == [4, 2]
    nodes[-1].input[0] = "x2"  # the second time the consumer reads something else
    changed_graph = helper.make_graph(nodes, "once", ports[:2], ports[2:], constants)
    changed_model = helper.make_model(changed_graph, ir_version=10)
    with pytest.raises(ValueError, match="the outputs of first cannot be scaled"):
        scaled(changed_model, factors)


def test_behind_a_custom_operator() -> None:
    """ONNX infers no shapes there: FlowNetC's correlation as a TensorRT plugin."""
    model = concatenation()
    for node in model.graph.node:
        if node.input[0] == "x":
            node.input[0] = "correlated"
    model.graph.node.insert(0, helper.make_node("Own", ["x"], ["correlated"], "own", domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    chosen = of_reader(model, 3, 1, 16, 64)
    assert chosen.factors.keys() == {"below"}
    layers = {"below.weight", "below.bias", "reader.weight"}
    assert changed(model, scaled(model, chosen.factors)) == layers


def test_only_layers_of_the_recipe_are_scaled() -> None:
    recipe = Int8Recipe(decoder_inputs=("another",), scaled_layers=("another",))
    seen = observed(3, 1, 16, 64)
    assert not choose_parameters(consumers_in({WHOLE: concatenation()}), seen, recipe).factors


def with_outputs(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    result.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return result
