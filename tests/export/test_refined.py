"""The refined network is exported like the others: its warp and its closed form are operators."""

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
from export.equalise import equalisation, equalised
from export.int8 import int8_from_fp32
from export.onnx_from_torch import onnx_from_torch
from export.pair import noise
from export.precision import HalfNetwork
from export.spec import SPECS
from export.upsampling import multiplied
from tests.export.runtimes import RUNTIMES, Runner, in_openvino_up_to, with_onnxruntime
from tests.export.tiny import seeded
from training.networks.flownets_refined import RefinedFlowNetS
from training.normalise import FixedMean

SPEC = SPECS["flownets_refined"]
PAIR = noise(1, 128, 192, seed=3)
Equal = tuple[onnx.ModelProto, dict[str, float]]


@pytest.fixture(scope="module")
def network() -> RefinedFlowNetS:
    network = seeded(lambda: RefinedFlowNetS(width=1 / 16))
    with torch.no_grad():
        network.predict_residual.weight.mul_(100)  # a pixel or so
    return network


@pytest.fixture(scope="module")
def exported(network: RefinedFlowNetS) -> onnx.ModelProto:
    return onnx_from_torch(Deployable(network, FixedMean(), multiplied), metadata={})


@pytest.fixture(scope="module")
def expected(network: RefinedFlowNetS) -> np.ndarray:
    images = [torch.from_numpy(image) for image in (PAIR.image1, PAIR.image2)]
    with torch.inference_mode():
        flow = Deployable(network, FixedMean())(*images)
        refined, plain, *_ = network(*FixedMean()(*(x.float().permute(0, 3, 1, 2) for x in images)))
    # Otherwise the comparisons would say nothing of what is added.
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
    assert np.abs(flow - expected).mean() < 1e-4


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fp16_is_close(runtime: Runner, network: RefinedFlowNetS, expected: np.ndarray) -> None:
    half = HalfNetwork(network, fp32_islands=SPEC.fp32_islands)
    model = onnx_from_torch(Deployable(half, FixedMean(), multiplied), metadata={})
    assert distance(runtime(model)(PAIR.image1, PAIR.image2), expected) < 0.01


@pytest.fixture(scope="module")
def equal(network: RefinedFlowNetS, exported: onnx.ModelProto) -> Equal:
    """The graph with like magnitudes in what int8 reads, and its ranges."""
    observed = calibrate({WHOLE: exported}, [PAIR])
    joined = network.joined_layers
    layers = {*joined, *network.equalised_layers}
    chosen = equalisation({WHOLE: exported}, observed, layers=layers, joined=joined)
    # What the decoder hands to both is divided, what is measured here is not.
    assert "deconv2" in chosen.factors
    assert chosen.factors.keys().isdisjoint({"appearance", "predict_flow2"})
    return equalised(exported, chosen.factors), chosen.ranges


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_int8_is_near(runtime: Runner, equal: Equal, expected: np.ndarray) -> None:
    # Of noise, rounding makes more than of pictures; a graph computed wrongly is off by its flow.
    flow = runtime(int8_from_fp32(*equal, SPEC.int8_exceptions))(PAIR.image1, PAIR.image2)
    assert distance(flow, expected) < 0.25


@pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="the CPU lacks AVX512-BF16")
@pytest.mark.parametrize("biases", [True, False], ids=["with", "without"])
def test_openvino_needs_the_biases(
    biases: bool, equal: Equal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not biases:
        monkeypatch.setattr(int8, "_give_biases", lambda *_: None)
    model = int8_from_fp32(*equal, SPEC.int8_exceptions)
    inputs = {"image1": PAIR.image1, "image2": PAIR.image2}
    flow = in_openvino_up_to("AVX512_CORE_BF16", model, inputs, tmp_path)
    # A sum that falls between two codes may be rounded to either one.
    right = distance(flow, with_onnxruntime(model)(**inputs)) < 0.03
    assert right == biases, f"OpenVINO {openvino.__version__} computes transposed convolutions " + (
        "with a bias wrongly"
        if biases
        else "without a bias rightly: remove export.int8._give_biases, and this test with it"
    )
