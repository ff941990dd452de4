"""Residual quantisation against the same sums in numpy."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from export.int8.quantise import int8_from_fp32
from export.int8.residual import write_residual_int8
from export.int8.scaling import scaled
from export.verify.noise import noise
from tests.export.runtimes import INT8_RUNTIMES, Runner, distance
from tests.export.tiny import seeded, tiny_flownets
from training.int8.fake_quant import FakeQuantiser
from training.networks.flownets import FlowNetS
from training.networks.registry import NETWORKS
from training.networks.upsampling import upsample_matmul
from training.normalise import FixedMean

TOP = 127.0  # steps of 1, and of 1/8
KINDS = ("Conv", "ConvTranspose")
Values = NDArray[np.float32]


def weight(layer: str, values: NDArray, kind: str = "Conv") -> onnx.TensorProto:
    """Of a 1x1 convolution from (out, in)."""
    by_axis = values if kind == "Conv" else values.T
    return numpy_helper.from_array(
        by_axis[:, :, None, None].astype(np.float32), f"network.{layer}.0.weight"
    )


# Multiples of 8, the largest of them 64: 7 bits hold them all, and an eighth of them.
READ = np.array([[64, -32, 8, 56, -56], [0, 64, 16, -8, 32]])


def concatenation(kind: str, *readers: str) -> onnx.ModelProto:
    """Two input channels, concatenated with the three of layer "fine", read by 1x1 layers."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, None, None])
    outputs = [
        helper.make_tensor_value_info(f"y_{name}", TensorProto.FLOAT, [1, 2, None, None])
        for name in readers
    ]
    nodes = [
        helper.make_node("Conv", ["x", "network.coarse.0.weight"], ["coarse"], "coarse"),
        helper.make_node("Conv", ["x", "network.fine.0.weight"], ["f"], "fine"),
        helper.make_node("LeakyRelu", ["f"], ["fine"], "leaky", alpha=0.125),
        helper.make_node("Concat", ["coarse", "fine"], ["both"], "concat", axis=1),
    ]
    constants = [
        weight("coarse", np.eye(2)),
        weight("fine", np.array([[1, 0], [0, 1], [1, 1]])),
    ]
    for name in readers:
        nodes.append(
            helper.make_node(kind, ["both", f"network.{name}.0.weight"], [f"y_{name}"], name)
        )
        constants.append(weight(name, READ, kind))
    graph = helper.make_graph(nodes, "small", [x], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, x: Values) -> list[Values]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[Values] = session.run(None, {"x": x})
    return results


def maps_of(x: Values) -> Values:
    fine = np.stack([x[0, 0], x[0, 1], x[0, 0] + x[0, 1]])
    return np.concatenate([x[0], np.where(fine < 0, fine / 8, fine)])


def summed(maps: NDArray) -> NDArray:
    return np.einsum("oc,chw->ohw", READ.astype(float), maps)


@pytest.fixture
def x() -> Values:
    values = np.random.default_rng(1).uniform(-40, 60, (1, 2, 30, 40))
    return values.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand(kind: str, x: Values) -> None:
    in_float = {"coarse", "fine"}
    (found,) = run(int8_from_fp32(concatenation(kind, "r"), {"r": TOP}, in_float, ["fine"]), x)
    maps = maps_of(x)
    rounded = np.concatenate([np.rint(maps[:2]), np.rint(8 * maps[2:]) / 8])
    np.testing.assert_allclose(found[0], summed(rounded), atol=0.01)
    (single,) = run(int8_from_fp32(concatenation(kind, "r"), {"r": TOP}, in_float), x)
    np.testing.assert_allclose(single[0], summed(np.rint(maps)), atol=0.01)


def test_the_residual_extends_the_range(x: Values) -> None:
    x = x * 0 + 130
    in_float = {"coarse", "fine"}
    (found,) = run(int8_from_fp32(concatenation("Conv", "r"), {"r": TOP}, in_float, ["fine"]), x)
    maps = maps_of(x)
    maps[:2], maps[4] = 127, 127 + 127 / 8
    np.testing.assert_allclose(found[0], summed(maps), atol=0.01)


def test_a_float_consumer_reads_unrounded_values(x: Values) -> None:
    model = concatenation("Conv", "r", "exact")
    rounded = int8_from_fp32(model, {"r": TOP}, {"coarse", "fine", "exact"}, ["fine"])
    np.testing.assert_allclose(run(rounded, x)[1], run(model, x)[1], atol=0.01)


def test_other_inputs_of_the_concat_are_rounded_once(x: Values) -> None:
    """Another int8 layer with a much smaller range reads one of them."""
    model = concatenation("Conv", "r")
    model.graph.node.append(
        helper.make_node("Conv", ["coarse", "network.other.0.weight"], ["y_other"], "other")
    )
    model.graph.initializer.append(weight("other", np.eye(2)))
    output = helper.make_tensor_value_info("y_other", TensorProto.FLOAT, [1, 2, None, None])
    model.graph.output.append(output)
    ranges = {"r": TOP, "other": 1.0}
    found, other = run(int8_from_fp32(model, ranges, {"coarse", "fine"}, ["fine"]), x)
    maps = maps_of(x)
    rounded = np.concatenate([np.rint(maps[:2]), np.rint(8 * maps[2:]) / 8])
    np.testing.assert_allclose(found[0], summed(rounded), atol=0.01)
    assert np.abs(other).max() < 1.02


@pytest.mark.parametrize(
    ("layers", "in_float"), [(["fine"], {"coarse", "fine", "r"}), (["other"], {"coarse", "fine"})]
)
def test_without_an_int8_consumer_nothing_changes(layers: list[str], in_float: set[str]) -> None:
    model = concatenation("Conv", "r")
    before = model.SerializeToString()
    assert write_residual_int8(model, layers, {"r": TOP}, in_float) == set()
    assert model.SerializeToString() == before


PAIR = noise(1, 128, 192, seed=3)
RECIPE = NETWORKS["flownets"].int8


@pytest.fixture(scope="module")
def network() -> FlowNetS:
    network = seeded(tiny_flownets)
    for index, (name, values) in enumerate(network.named_parameters()):
        if name.startswith("upsampled"):
            values.data *= 1 + index / 64  # equal weights would be exported once
    return network


@pytest.fixture(scope="module")
def rounding(network: FlowNetS) -> FakeQuantiser:
    images = (torch.from_numpy(image) for image in (PAIR.image1, PAIR.image2))
    planes = [image.float().permute(0, 3, 1, 2) for image in images]
    rounding = FakeQuantiser(network, RECIPE)
    rounding.observe(network, *FixedMean()(*planes))
    return rounding


@pytest.fixture(scope="module")
def model(network: FlowNetS, rounding: FakeQuantiser) -> onnx.ModelProto:
    chosen = rounding.parameters
    assert chosen is not None
    exported = onnx_from_torch(Deployable(network, FixedMean(), upsample_matmul), metadata={})
    graph = scaled(exported, chosen.factors)
    model = int8_from_fp32(graph, chosen.ranges, RECIPE.float_layers, RECIPE.residual_layers)
    fine = [node.name for node in model.graph.node if node.name.endswith(".fine")]
    assert len(fine) == len(RECIPE.residual_layers) == 3
    return model


@pytest.mark.parametrize("runtime", INT8_RUNTIMES)
def test_int8_equals_fake_quantisation(
    runtime: Runner, network: FlowNetS, rounding: FakeQuantiser, model: onnx.ModelProto
) -> None:
    images = [torch.from_numpy(image) for image in (PAIR.image1, PAIR.image2)]
    with torch.inference_mode():
        expected = Deployable(network, FixedMean())(*images).numpy()
        with rounding.attach(network), rounding.fake_quantised_weights(network):
            rounded = Deployable(network, FixedMean())(*images).numpy()
    flow = runtime(model)(PAIR.image1, PAIR.image2)
    # A value halfway between two codes may be rounded to either.
    assert distance(flow, rounded) < min(0.01, distance(flow, expected) / 1.5)
