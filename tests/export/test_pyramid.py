"""The pyramid is exported like the others: warps and the closed form are operators."""

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch

from engine.backends.onnx_graphs import WHOLE
from engine.backends.openvino.session import OpenVINOSession
from engine.system.cpu import cpu_flags
from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from export.graph.precision import HalfNetwork
from export.int8 import quantise as int8
from export.int8.calibrate import calibrate
from export.int8.quantise import int8_from_fp32
from export.int8.scaling import consumers_in, scaled
from export.verify.noise import noise
from tests.export.runtimes import (
    INT8_RUNTIMES,
    RUNTIMES,
    Runner,
    distance,
    in_openvino_up_to,
    with_onnxruntime,
)
from tests.support.cpu import needs_int8
from training.int8.fake_quant import FakeQuantiser
from training.int8.ranges import choose_parameters
from training.networks.flownets_pyramid import PyramidFlowNetS
from training.networks.registry import NETWORKS
from training.networks.upsampling import upsample_matmul
from training.normalise import FixedMean

ENTRY = NETWORKS["flownets_pyramid"]
PAIR = noise(1, 128, 192, seed=3)
Equal = tuple[onnx.ModelProto, dict[str, float]]


@pytest.fixture(scope="module")
def exported_half(pyramid: PyramidFlowNetS) -> onnx.ModelProto:
    half = HalfNetwork(pyramid, fp32_islands=ENTRY.fp32_islands)
    return onnx_from_torch(Deployable(half, FixedMean(), upsample_matmul), metadata={})


@pytest.fixture(scope="module")
def expected(pyramid: PyramidFlowNetS) -> np.ndarray:
    images = [torch.from_numpy(image) for image in (PAIR.image1, PAIR.image2)]
    with torch.inference_mode():
        flow = Deployable(pyramid, FixedMean())(*images)
        flows = pyramid(*FixedMean()(*(x.float().permute(0, 3, 1, 2) for x in images)))
    # Otherwise the comparisons would say nothing of what is added.
    _, _, coarse, plain, *_ = flows
    assert (coarse - plain).abs().mean() * pyramid.flow_scale > 0.1
    return np.asarray(flow)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fp32_is_what_pytorch_computes(
    runtime: Runner, pyramid_exported: onnx.ModelProto, expected: np.ndarray
) -> None:
    flow = runtime(pyramid_exported)(PAIR.image1, PAIR.image2)
    np.testing.assert_allclose(flow, expected, atol=5e-3)
    assert distance(flow, expected) < 1e-4


def test_windows_are_not_pooled(pyramid_exported: onnx.ModelProto) -> None:
    """OpenVINO's pooling of few channels is slow."""
    assert "AveragePool" not in {node.op_type for node in pyramid_exported.graph.node}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fp16_is_close(
    runtime: Runner, exported_half: onnx.ModelProto, expected: np.ndarray
) -> None:
    images = (image.repeat(2, axis=0) for image in (PAIR.image1, PAIR.image2))
    for flow in runtime(exported_half)(*images):
        assert distance(flow[None], expected) < 0.01


@pytest.fixture(scope="module")
def equal(pyramid_exported: onnx.ModelProto, pyramid: PyramidFlowNetS) -> Equal:
    """The scaled graph and its ranges."""
    observed = calibrate(Deployable(pyramid, FixedMean()), [PAIR])
    chosen = choose_parameters(consumers_in({WHOLE: pyramid_exported}), observed, ENTRY.int8)
    assert "deconv2" in chosen.factors
    assert "predict_flow2" not in chosen.factors
    return scaled(pyramid_exported, chosen.factors), chosen.ranges


@pytest.mark.parametrize("runtime", INT8_RUNTIMES)
def test_int8_is_near(
    runtime: Runner, equal: Equal, pyramid: PyramidFlowNetS, expected: np.ndarray
) -> None:
    # Of noise, rounding makes more than of pictures; a graph computed wrongly is off by its flow.
    flow = runtime(int8_from_fp32(*equal, ENTRY.int8.float_layers))(PAIR.image1, PAIR.image2)
    assert distance(flow, expected) < 0.25


@pytest.mark.parametrize("runtime", INT8_RUNTIMES)
def test_int8_equals_fake_quantisation(
    runtime: Runner,
    pyramid: PyramidFlowNetS,
    pyramid_exported: onnx.ModelProto,
    expected: np.ndarray,
) -> None:
    images = [torch.from_numpy(image) for image in (PAIR.image1, PAIR.image2)]
    planes = [image.float().permute(0, 3, 1, 2) for image in images]
    rounding = FakeQuantiser(pyramid, ENTRY.int8)
    rounding.observe(pyramid, *FixedMean()(*planes))
    assert rounding.parameters is not None
    graph = scaled(pyramid_exported, rounding.parameters.factors)
    in_int8 = int8_from_fp32(graph, rounding.parameters.ranges, ENTRY.int8.float_layers)
    with torch.inference_mode(), rounding.attach(pyramid), rounding.fake_quantised_weights(pyramid):
        rounded = Deployable(pyramid, FixedMean())(*images).numpy()
    flow = runtime(in_int8)(PAIR.image1, PAIR.image2)
    # What is left is that a sum between two codes may be rounded to either one.
    assert distance(flow, rounded) < min(0.03, distance(flow, expected) / 3)


@needs_int8
def test_int8_of_any_size_is_right_with_the_operators(
    equal: Equal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO had moved a division between cells and an operator, where it computed it wrongly."""
    path = tmp_path / "model.onnx"
    onnx.save(int8_from_fp32(*equal, ENTRY.int8.float_layers), path)
    images = {"image1": PAIR.image1, "image2": PAIR.image2}

    def flow() -> np.ndarray:
        opened = OpenVINOSession(openvino, path, threads=1)
        opened._at_once = 0  # dynamic sizes alone
        opened._in_all = 0
        return opened(images)["flow"]

    found = flow()
    monkeypatch.setattr("engine.backends.openvino.session.with_operators", lambda _, x: (x, ""))
    assert distance(found, flow()) < 0.05


# Where ONNX Runtime's CUDA kernels take an input in the host's memory.
ON_HOST = {"Reshape": [1], "Expand": [1], "Slice": [1, 2, 3, 4], "Range": [0, 1, 2], "Pad": [1],
           "Resize": [1, 2, 3], "Split": [1], "Squeeze": [1], "Unsqueeze": [1]}  # fmt: skip


def test_a_gpu_is_told_of_sizes_in_shapes_and_ranges_alone(
    pyramid_exported: onnx.ModelProto,
) -> None:
    """What else is computed of them would be copied there, which rules out a CUDA graph."""
    graph = pyramid_exported.graph
    host = {name for node in graph.node if node.op_type == "Shape" for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    copied = []
    for node in graph.node:
        read = {index for index, name in enumerate(node.input) if name in host}
        if not read or node.op_type == "Shape" or read <= {*ON_HOST.get(node.op_type, [])}:
            continue
        if all(name in host | constants for name in node.input):
            host.update(node.output)
        else:
            copied.append(node.name)
    assert len(host) > 10
    assert not copied


@pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="the CPU lacks AVX512-BF16")
@pytest.mark.parametrize("biases", [True, False], ids=["with", "without"])
def test_openvino_needs_the_biases(
    biases: bool,
    equal: Equal,
    pyramid: PyramidFlowNetS,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if not biases:
        monkeypatch.setattr(int8, "_add_biases", lambda *_: None)
    model = int8_from_fp32(*equal, ENTRY.int8.float_layers)
    inputs = {"image1": PAIR.image1, "image2": PAIR.image2}
    flow = in_openvino_up_to("AVX512_CORE_BF16", model, inputs, tmp_path)
    # A sum that falls between two codes may be rounded to either one.
    right = distance(flow, with_onnxruntime(model)(**inputs)) < 0.03
    assert right == biases, f"OpenVINO {openvino.__version__} computes transposed convolutions " + (
        "with a bias wrongly"
        if biases
        else "without a bias rightly: remove quantise._add_biases, and this test with it"
    )
