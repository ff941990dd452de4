"""Equalised graphs: the same flow, less lost to int8, and what must stay as it is."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.backends.graphs import SPLIT, WHOLE
from export.calibration import Observed, calibrate
from export.equalise import equalisation, equalised
from export.int8 import int8_from_fp32
from export.pair import noise
from training.networks.flownetc import FlowNetC
from training.networks.flownets import FlowNetS

PAIRS = [noise(1, 64, 64, seed=1), noise(1, 128, 64, seed=2)]


def run(model: onnx.ModelProto, *images: NDArray) -> list[NDArray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, images, strict=True)))


def assert_same(expected: list[NDArray], found: list[NDArray]) -> None:
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5 * np.abs(expected[0]).max())


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def changed(model: onnx.ModelProto, other: onnx.ModelProto) -> set[str]:
    before, after = constants_of(model), constants_of(other)
    assert before.keys() == after.keys()
    names = (name for name, values in before.items() if not np.array_equal(values, after[name]))
    return {name.removeprefix("network.") for name in names}


def test_a_network_computes_the_same(network: FlowNetS, exported: onnx.ModelProto) -> None:
    before = exported.SerializeToString()
    observed = calibrate({WHOLE: exported}, PAIRS)
    chosen = equalisation({WHOLE: exported}, observed, network.joined_layers)
    result = equalised(exported, chosen.factors)
    assert exported.SerializeToString() == before
    # The flows' upsamplings start alike and are exported as one, which is not touched.
    assert chosen.factors.keys() == {"deconv5", "deconv4", "deconv3", "deconv2"}
    # The biases are 0.
    layers = {f"deconv{n}.0.weight" for n in (2, 3, 4, 5)}
    assert changed(exported, result) == layers | {f"predict_flow{n}.weight" for n in (2, 3, 4, 5)}
    for pair in PAIRS:
        assert_same(*(run(model, pair.image1, pair.image2) for model in (exported, result)))
    # What calibration would see now is what the ranges were chosen for, with room above.
    seen = calibrate({WHOLE: result}, PAIRS)
    assert chosen.ranges.keys() == set(network.joined_layers)
    for layer, top in chosen.ranges.items():
        assert top == pytest.approx(1.3 * seen[layer].largest.max(), rel=1e-4)


def test_of_two_graphs_the_one_that_joins(
    flownetc: FlowNetC, flownetc_split: tuple[onnx.ModelProto, onnx.ModelProto]
) -> None:
    """The same factors as in one graph, and the skip, which comes from outside, keeps its own."""
    models = dict(zip(SPLIT, flownetc_split, strict=True))
    chosen = equalisation(models, calibrate(models, PAIRS), flownetc.joined_layers)
    features, match = (equalised(model, chosen.factors) for model in flownetc_split)
    assert not changed(flownetc_split[0], features)
    assert "deconv2.0.weight" in changed(flownetc_split[1], match)
    generator = np.random.default_rng(0)
    channels = [value.type.tensor_type.shape.dim[3].dim_value for value in match.graph.input]
    maps = [
        generator.normal(size=(1, side, side, count)).astype(np.float32)
        for side, count in zip((32, 16, 16), channels, strict=True)
    ]
    assert_same(*(run(model, *maps) for model in (flownetc_split[1], match)))


def test_the_correlation_is_left_alone(
    flownetc: FlowNetC, flownetc_exported: onnx.ModelProto
) -> None:
    """It is joined too, but does not grow with the motion."""
    models = {WHOLE: flownetc_exported}
    chosen = equalisation(models, calibrate(models, PAIRS), flownetc.joined_layers)
    assert "conv_redir" not in chosen.factors
    assert "conv3_1" not in chosen.ranges


def joined(
    *extra: onnx.NodeProto, reader: str = "ConvTranspose", activation: str = "LeakyRelu"
) -> onnx.ModelProto:
    """A skip of magnitude 1 joined with what is 16 and 64 times that, and a layer that reads all.

    Args:
        extra: more nodes.
        reader: the kind of that layer.
        activation: behind the layer that comes from below.
    """
    generator = np.random.default_rng(3)
    # What is large counts for less, as in trained networks.
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


def observed(*largest: float) -> dict[str, Observed]:
    return {"reader": Observed(np.zeros(1, np.float32), np.array(largest, np.float32))}


def test_factors_and_ranges_by_hand() -> None:
    """Of what stays, 3 and 1, 2 is usual; the others are 8 and 32 times that."""
    chosen = equalisation({WHOLE: joined()}, observed(3, 1, 16, 64), ["reader"])
    assert chosen.factors.keys() == {"below"}
    np.testing.assert_allclose(chosen.factors["below"], np.sqrt([8, 32]))
    assert chosen.ranges == {"reader": pytest.approx(1.3 * 64 / np.sqrt(32))}


def test_a_channel_that_never_was_anything() -> None:
    chosen = equalisation({WHOLE: joined()}, observed(2, 2, 0, 8), ["reader"])
    np.testing.assert_allclose(chosen.factors["below"], [1, 2])
    chosen = equalisation({WHOLE: joined()}, observed(0, 0, 0, 0), ["reader"])
    np.testing.assert_allclose(chosen.factors["below"], [1, 1])
    assert chosen.ranges["reader"] > 0


@pytest.mark.parametrize("reader", ["Conv", "ConvTranspose"])
def test_weights_by_hand(reader: str) -> None:
    model = joined(reader=reader)
    factors = np.array([4, 2], np.float32)
    before = constants_of(model)
    after = constants_of(equalised(model, {"below": factors, "in another graph": factors}))
    for name, by in {
        "network.skip.weight": np.ones(1),
        "network.below.weight": 1 / factors.reshape(2, 1, 1, 1),
        "below.bias": 1 / factors,
        "network.reader.weight": np.reshape([1, 1, 4, 2], _inputs_of(reader)),
    }.items():
        np.testing.assert_array_equal(after[name], before[name] * by, err_msg=name)


def test_int8_loses_less() -> None:
    """Also where values are a quarter larger than any that calibration saw."""
    model = joined()
    image = np.random.default_rng(5).normal(size=(1, 3, 32, 32)).astype(np.float32)
    s, c = run(with_outputs(model, "s", "c"), image)
    seen = observed(*(np.abs(x).max() for x in (*s[0], *c[0])))
    chosen = equalisation({WHOLE: model}, seen, ["reader"])
    others = {"skip": 6.0, "below": 6.0}
    plain = int8_from_fp32(model, others | {"reader": float(seen["reader"].largest.max())}, ())
    better = int8_from_fp32(equalised(model, chosen.factors), others | chosen.ranges, ())
    for size, gain in ((1.0, 2), (1.25, 3)):
        expected = run(model, size * image)[0]
        lost, left = (np.abs(run(x, size * image)[0] - expected).mean() for x in (plain, better))
        assert lost > gain * left


@pytest.mark.parametrize(
    "model",
    [
        joined(activation="Sigmoid"),
        joined(helper.make_node("Identity", ["c"], ["other"], "reads below")),
        joined(helper.make_node("Identity", ["both"], ["other"], "reads both")),
        joined(convolution("Conv", "below", "x", "other")),
        joined(convolution("ConvTranspose", "reader", "both", "other")),
    ],
    ids=["not homogeneous", "read elsewhere", "no convolution", "same weights", "same reader"],
)
def test_what_would_change_the_result_is_left_alone(model: onnx.ModelProto) -> None:
    assert not equalisation({WHOLE: model}, observed(3, 1, 16, 64), ["reader"]).factors
    with pytest.raises(ValueError, match="in this graph below cannot be equalised"):
        equalised(model, {"below": np.array([4, 2], np.float32)})


def test_behind_an_operator_of_our_own() -> None:
    """Of which ONNX infers no shapes: FlowNetC's correlation where TensorRT has it as a plugin."""
    model = joined()
    for node in model.graph.node:
        if node.input[0] == "x":
            node.input[0] = "correlated"
    model.graph.node.insert(0, helper.make_node("Own", ["x"], ["correlated"], "own", domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    chosen = equalisation({WHOLE: model}, observed(3, 1, 16, 64), ["reader"])
    assert chosen.factors.keys() == {"below"}
    layers = {"below.weight", "below.bias", "reader.weight"}
    assert changed(model, equalised(model, chosen.factors)) == layers


def test_only_layers_that_are_named() -> None:
    chosen = equalisation({WHOLE: joined()}, observed(3, 1, 16, 64), ["another"])
    assert not chosen.factors
    assert not chosen.ranges


def with_outputs(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    result.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return result
