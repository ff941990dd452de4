"""Quantised graphs: their structure, and what they compute against PyTorch's own rounding."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.backends.openvino.runtime import core_of
from export.graph.deployable import Deployable
from export.int8 import quantise as int8
from export.int8.calibrate import calibrate
from export.int8.layers import CONVOLUTIONS
from export.int8.quantise import int8_from_fp32
from export.verify.noise import noise
from tests.export.runtimes import in_openvino_up_to
from tests.support.cpu import needs_avx512_vnni, needs_int8
from training.int8.ranges import mse_range
from training.int8.weights import weight_ranges
from training.networks.registry import NETWORKS

EXCEPTIONS = NETWORKS["flownets"].int8.float_layers
UPSAMPLING = "upsampled_flow6_to_5"  # the four start alike, and equal weights are exported once
Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def ranges(deployable: Deployable) -> dict[str, float]:
    observed = calibrate(deployable, [noise(1, 64, 64, seed=1)])
    return {layer: mse_range(seen.sample) for layer, seen in observed.items()}


@pytest.fixture(scope="module")
def quantised(exported: onnx.ModelProto, ranges: dict[str, float]) -> onnx.ModelProto:
    before = exported.SerializeToString()
    result = int8_from_fp32(exported, ranges, EXCEPTIONS)
    assert exported.SerializeToString() == before
    return result


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_weights_are_seven_bits_with_a_scale_per_channel(
    exported: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    originals, constants = constants_of(exported), constants_of(quantised)
    dequantised = {x.output[0]: x for x in quantised.graph.node if x.op_type == "DequantizeLinear"}
    seen = set()
    for node in quantised.graph.node:
        if node.op_type not in CONVOLUTIONS or node.input[1] not in dequantised:
            continue
        weights, scales, zeros = (constants[name] for name in dequantised[node.input[1]].input)
        (axis,) = (x.i for x in dequantised[node.input[1]].attribute if x.name == "axis")
        assert axis == (0 if node.op_type == "Conv" else 1)
        assert weights.dtype == zeros.dtype == np.int8
        assert not zeros.any()
        assert scales.shape == zeros.shape == (weights.shape[axis],)
        others = tuple({0, 1, 2, 3} - {axis})
        assert (np.abs(weights.astype(int)).max(axis=others) == 64).all()  # safe without VNNI
        name = node.input[1].removesuffix("_DequantizeLinear_Output")
        by_channel = np.expand_dims(scales, others)
        half_step = by_channel / 2 * 1.0001
        clipped = np.clip(originals[name], -64 * by_channel, 64 * by_channel)
        assert (np.abs(weights * by_channel - clipped) <= half_step).all()
        # Clipping costs less than it saves.
        widest = np.abs(originals[name]).max(axis=others, keepdims=True)
        assert (64 * by_channel <= widest * 1.0001).all()
        unclipped = np.rint(originals[name] * 64 / widest) * widest / 64
        lost, alone = (
            ((rounded - originals[name]) ** 2).sum(axis=others)
            for rounded in (weights * by_channel, unclipped)
        )
        assert (lost <= alone * 1.0001).all()
        seen.add(name)
    weighted = {name for name, values in originals.items() if values.ndim == 4}
    in_float = {f"network.{layer}.weight" for layer in EXCEPTIONS}
    assert seen == weighted - in_float
    assert {name for name, x in constants.items() if x.ndim == 4 and x.dtype != np.int8} == {
        "network.predict_flow6.weight",
        f"network.{UPSAMPLING}.weight",
    }


def test_activations_are_symmetric_and_take_their_layers_range(
    quantised: onnx.ModelProto, ranges: dict[str, float]
) -> None:
    constants = constants_of(quantised)
    producers = {name: node for node in quantised.graph.node for name in node.output}
    for node in quantised.graph.node:
        layer = node.input[1].split(".")[1] if node.op_type in CONVOLUTIONS else None
        if layer is None or layer in EXCEPTIONS:
            continue
        dequantize = producers[node.input[0]]
        quantize = producers[dequantize.input[0]]
        assert (quantize.op_type, dequantize.op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert list(quantize.input[1:]) == list(dequantize.input[1:])
        scale, zero = (constants[name] for name in quantize.input[1:])
        assert (zero.dtype, zero.shape, zero) == (np.int8, (), 0)
        np.testing.assert_allclose(scale, ranges[layer] / 127, rtol=1e-6)


def test_the_file_still_says_what_it_is(
    exported: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    properties = {item.key: item.value for item in quantised.metadata_props}
    assert properties.items() >= {item.key: item.value for item in exported.metadata_props}.items()
    assert quantised.opset_import == exported.opset_import


def constant(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(size=shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def graph_of(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    """A graph from ``x`` (1, 3, H, W) to ``y``."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, None, None])
        for name, channels in (("x", 3), ("y", None))
    )
    graph = helper.make_graph(nodes, "small", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def convolution(kind: str, layer: str, source: str, result: str, *bias: str) -> onnx.NodeProto:
    inputs = [source, f"network.{layer}.weight", *bias]
    return helper.make_node(kind, inputs, [result], layer, pads=[1, 1, 1, 1])


def as_it_is_written(model: onnx.ModelProto, inputs: Arrays) -> NDArray[np.float32]:
    """ONNX Runtime, each node by itself."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


def in_onnxruntime(model: onnx.ModelProto, inputs: Arrays) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def in_openvino(model: onnx.ModelProto, inputs: Arrays) -> NDArray[np.float32]:
    core = core_of(openvino)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    return compiled(inputs)[0].copy()


RUNTIMES = [
    as_it_is_written,
    in_onnxruntime,
    pytest.param(in_openvino, marks=needs_int8),
]


@pytest.mark.parametrize("runtime", RUNTIMES[1:])
def test_a_whole_network_is_the_same_in_every_runtime(runtime, quantised: onnx.ModelProto) -> None:
    pairs = noise(5, 128, 192, seed=2)
    images = {"image1": pairs.image1, "image2": pairs.image2}
    literal = as_it_is_written(quantised, images)
    # A sum that falls between two codes may be rounded to either one: about 1% in such a pair.
    distance = np.linalg.norm(runtime(quantised, images) - literal, axis=-1).mean()
    assert distance < 0.01 * np.linalg.norm(literal, axis=-1).mean()


def random_input() -> Arrays:
    values = np.random.default_rng(7).normal(size=(1, 3, 16, 24))
    return {"x": values.astype(np.float32)}


def rounded(x: torch.Tensor, top: float) -> torch.Tensor:
    """What int8 keeps of activations."""
    return torch.fake_quantize_per_tensor_affine(x, top / 127, 0, -128, 127)


def fake_quantised_weights(weights: torch.Tensor, axis: int) -> torch.Tensor:
    """What 7 bits keep of weights, by channel."""
    scales = weight_ranges(weights, axis).flatten() / 64
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weights, scales, zeros, axis, -64, 64)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_numbers_are_those_of_rounding_by_hand(runtime, kind: str) -> None:
    shape = (5, 8, 3, 3) if kind == "Conv" else (8, 5, 3, 3)
    model = graph_of(
        [
            convolution("Conv", "first", "x", "a", "bias1"),
            helper.make_node("LeakyRelu", ["a"], ["b"], "leaky", alpha=0.1),
            convolution(kind, "second", "b", "y", "bias2"),
        ],
        [
            constant("network.first.weight", 8, 3, 3, 3),
            constant("network.second.weight", *shape),
            constant("bias1", 8),
            constant("bias2", 5),
        ],
    )
    weights1, weights2, bias1, bias2 = (
        torch.from_numpy(values.copy()) for values in constants_of(model).values()
    )
    # Less than the largest values: some are clipped.
    top1, top2 = 2.5, 9.0
    inputs = random_input()
    a = F.conv2d(
        rounded(torch.from_numpy(inputs["x"]), top1),
        fake_quantised_weights(weights1, 0),
        bias1,
        padding=1,
    )
    second, axis = (F.conv2d, 0) if kind == "Conv" else (F.conv_transpose2d, 1)
    b = rounded(F.leaky_relu(a, 0.1), top2)
    expected = second(b, fake_quantised_weights(weights2, axis), bias2, padding=1).numpy()

    found = runtime(int8_from_fp32(model, {"first": top1, "second": top2}, ()), inputs)

    # Where a sum falls between two codes, one step of the second layer's input.
    np.testing.assert_allclose(found, expected, atol=top2 / 127 * float(weights2.abs().max()))
    assert np.median(np.abs(found - expected)) < 1e-5
    assert np.median(np.abs(runtime(model, inputs) - expected)) > 1e-2


@pytest.mark.parametrize("in_float", [(), ("first",), ("second",)])
def test_layers_in_float_keep_their_weights(in_float: tuple[str, ...]) -> None:
    model = graph_of(
        [convolution("Conv", "first", "x", "a"), convolution("Conv", "second", "a", "y")],
        [constant(f"network.{name}.weight", 3, 3, 3, 3) for name in ("first", "second")],
    )
    quantised = int8_from_fp32(model, {"first": 3.0, "second": 9.0}, in_float)
    names = constants_of(quantised).keys()
    for layer in ("first", "second"):
        assert (f"network.{layer}.weight" in names) == (layer in in_float)
        assert (f"network.{layer}.weight_quantized" in names) == (layer not in in_float)


def with_concatenation(*readers: str) -> onnx.ModelProto:
    """Two convolutions joined, and what reads both, added up."""
    nodes = [
        convolution("Conv", "left", "x", "a"),
        convolution("Conv", "right", "x", "b"),
        helper.make_node("LeakyRelu", ["a"], ["c"], "leaky_left", alpha=0.1),
        helper.make_node("LeakyRelu", ["b"], ["d"], "leaky_right", alpha=0.1),
        helper.make_node("Concat", ["c", "d"], ["joined"], "joined", axis=1),
    ]
    constants = [constant(f"network.{name}.weight", 8, 3, 3, 3) for name in ("left", "right")]
    for index, kind in enumerate(readers):
        shape = (4, 16, 3, 3) if kind == "Conv" else (16, 4, 3, 3)
        nodes.append(convolution(kind, f"reader{index}", "joined", f"e{index}"))
        constants.append(constant(f"network.reader{index}.weight", *shape))
    nodes.append(helper.make_node("Sum", [f"e{i}" for i in range(len(readers))], ["y"], "sum"))
    return graph_of(nodes, constants)


JOINED_RANGES = {"left": 3.0, "right": 3.0, "reader0": 20.0, "reader1": 20.0}


@needs_int8
@pytest.mark.parametrize(
    "readers",
    [("Conv",), ("ConvTranspose",), ("Conv", "ConvTranspose"), ("Conv", "Conv")],
    ids=" and ".join,
)
def test_what_reads_a_concatenation_is_right_in_openvino(readers: tuple[str, ...]) -> None:
    inputs = random_input()
    quantised = int8_from_fp32(with_concatenation(*readers), JOINED_RANGES, ())
    expected = as_it_is_written(quantised, inputs)
    np.testing.assert_allclose(in_openvino(quantised, inputs), expected, atol=1e-3)
    assert np.abs(expected).mean() > 1


@needs_avx512_vnni
def test_openvino_still_needs_the_guard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(int8, "_guard_concatenations", lambda *_: None)
    inputs = random_input()
    quantised = int8_from_fp32(with_concatenation("Conv"), JOINED_RANGES, ())
    expected = as_it_is_written(quantised, inputs)
    found = in_openvino_up_to("AVX512_CORE_VNNI", quantised, inputs, tmp_path)
    distance = np.abs(found - expected).mean()
    assert distance > 0.01 * np.abs(expected).mean(), (
        f"OpenVINO {openvino.__version__} computes a Conv behind a quantised Concat rightly: "
        "remove export.int8.quantise._guard_concatenations, and this test with it"
    )


def test_only_what_needs_it_is_guarded() -> None:
    for reader, in_float, guards in (("Conv", (), 1), ("Conv", ("reader0",), 0),
                                     ("ConvTranspose", (), 0)):  # fmt: skip
        quantised = int8_from_fp32(with_concatenation(reader), JOINED_RANGES, in_float)
        assert sum(node.op_type == "Max" for node in quantised.graph.node) == guards
