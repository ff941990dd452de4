"""Refined networks are exported like the others: warps and the closed form are operators."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch

from engine.backends.graphs import WHOLE
from engine.machine import cpu_flags
from export import int8
from export.calibration import calibrate
from export.deployable import Deployable
from export.equalise import equalised, readers_in
from export.int8 import int8_from_fp32
from export.onnx_from_torch import onnx_from_torch
from export.pair import noise
from export.precision import HalfNetwork
from export.spec import SPECS, ExportSpec
from tests.export.runtimes import RUNTIMES, Runner, in_openvino_up_to, with_onnxruntime
from tests.export.tiny import seeded
from training.equalisation import equalisation
from training.networks.flownets_pyramid import PyramidFlowNetS
from training.networks.flownets_refined import RefinedFlowNetS
from training.networks.refinement import Refinement
from training.networks.upsampling import multiplied
from training.normalise import FixedMean

NAMES = {RefinedFlowNetS: "flownets_refined", PyramidFlowNetS: "flownets_pyramid"}
PAIR = noise(1, 128, 192, seed=3)
Network = RefinedFlowNetS | PyramidFlowNetS
Equal = tuple[onnx.ModelProto, dict[str, float]]


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    network: Network = seeded(lambda: request.param(width=1 / 16))
    for module in network.modules():
        if isinstance(module, Refinement):
            module.predict_residual.weight.data.mul_(100)  # a pixel or so
    return network


@pytest.fixture(scope="module")
def spec(network: Network) -> ExportSpec:
    return SPECS[NAMES[type(network)]]


@pytest.fixture(scope="module")
def exported(network: Network) -> onnx.ModelProto:
    return onnx_from_torch(Deployable(network, FixedMean(), multiplied), metadata={})


@pytest.fixture(scope="module")
def exported_half(network: Network, spec: ExportSpec) -> onnx.ModelProto:
    half = HalfNetwork(network, fp32_islands=spec.fp32_islands)
    return onnx_from_torch(Deployable(half, FixedMean(), multiplied), metadata={})


@pytest.fixture(scope="module")
def expected(network: Network) -> np.ndarray:
    images = [torch.from_numpy(image) for image in (PAIR.image1, PAIR.image2)]
    with torch.inference_mode():
        flow = Deployable(network, FixedMean())(*images)
        flows = network(*FixedMean()(*(x.float().permute(0, 3, 1, 2) for x in images)))
    # Otherwise the comparisons would say nothing of what is added.
    refined, plain = next(pair for pair in pairwise(flows) if pair[0].shape == pair[1].shape)
    assert (refined - plain).abs().mean() * network.flow_scale > 0.1
    return np.asarray(flow)


def distance(flow: np.ndarray, expected: np.ndarray) -> float:
    """Relative to how long the vectors are."""
    lengths = np.linalg.norm(expected, axis=-1).mean()
    return float(np.linalg.norm(flow - expected, axis=-1).mean() / lengths)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fp32_is_what_pytorch_computes(
    runtime: Runner, exported: onnx.ModelProto, expected: np.ndarray
) -> None:
    flow = runtime(exported)(PAIR.image1, PAIR.image2)
    np.testing.assert_allclose(flow, expected, atol=5e-3)
    assert distance(flow, expected) < 1e-4


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fp16_is_close(
    runtime: Runner, exported_half: onnx.ModelProto, expected: np.ndarray
) -> None:
    assert distance(runtime(exported_half)(PAIR.image1, PAIR.image2), expected) < 0.01


@pytest.fixture(scope="module")
def equal(network: Network, exported: onnx.ModelProto) -> Equal:
    """The graph with like magnitudes in what int8 reads, and its ranges."""
    observed = calibrate({WHOLE: exported}, [PAIR])
    joined = network.joined_layers
    layers = {*joined, *network.equalised_layers}
    chosen = equalisation(readers_in({WHOLE: exported}), observed, layers=layers, joined=joined)
    # What the decoder hands to both is divided, what is measured here is not.
    assert "deconv2" in chosen.factors
    assert chosen.factors.keys().isdisjoint({"appearance", "predict_flow2"})
    return equalised(exported, chosen.factors), chosen.ranges


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_int8_is_near(
    runtime: Runner, equal: Equal, spec: ExportSpec, expected: np.ndarray
) -> None:
    # Of noise, rounding makes more than of pictures; a graph computed wrongly is off by its flow.
    flow = runtime(int8_from_fp32(*equal, spec.int8_exceptions))(PAIR.image1, PAIR.image2)
    assert distance(flow, expected) < 0.25


@pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="the CPU lacks AVX512-BF16")
@pytest.mark.parametrize("network", [RefinedFlowNetS], indirect=True)
@pytest.mark.parametrize("biases", [True, False], ids=["with", "without"])
def test_openvino_needs_the_biases(
    biases: bool,
    equal: Equal,
    spec: ExportSpec,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if not biases:
        monkeypatch.setattr(int8, "_give_biases", lambda *_: None)
    model = int8_from_fp32(*equal, spec.int8_exceptions)
    inputs = {"image1": PAIR.image1, "image2": PAIR.image2}
    flow = in_openvino_up_to("AVX512_CORE_BF16", model, inputs, tmp_path)
    # A sum that falls between two codes may be rounded to either one.
    right = distance(flow, with_onnxruntime(model)(**inputs)) < 0.03
    assert right == biases, f"OpenVINO {openvino.__version__} computes transposed convolutions " + (
        "with a bias wrongly"
        if biases
        else "without a bias rightly: remove export.int8._give_biases, and this test with it"
    )
