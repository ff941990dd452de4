"""What calibration sees of each layer, against the exported graph in ONNX Runtime."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from engine.data.pair import Pair
from export.graph.deployable import Deployable
from export.int8.calibrate import calibrate
from export.int8.layers import layer_of
from export.verify.noise import noise
from tests.export.activations import activations
from training.int8.ranges import ActivationStatistics, mse_range
from training.networks.flownetc import FlowNetC
from training.networks.flownets import FlowNetS
from training.normalise import FixedMean

PAIRS = [noise(1, 64, 64, seed=1), noise(1, 128, 64, seed=2)]


def seen_in(network: nn.Module, pairs: Sequence[Pair]) -> dict[str, ActivationStatistics]:
    return calibrate(Deployable(network, FixedMean()).eval(), pairs)


def assert_seen(
    found: Mapping[str, ActivationStatistics], expected: Mapping[str, NDArray[np.float32]]
) -> None:
    # Four upsampling layers start alike, and the exporter writes equal weights once.
    assert {name for name in found if not name.startswith("upsampled")} <= expected.keys()
    for layer, values in expected.items():
        if not layer.startswith("upsampled"):
            near = {"atol": 1e-4 * np.abs(values).max(), "err_msg": layer}
            samples = np.sort(found[layer].sample.ravel())
            np.testing.assert_allclose(samples, np.sort(values.ravel()), **near)
            np.testing.assert_allclose(found[layer].largest, np.abs(values).max(1), **near)


def test_every_layer(network: FlowNetS, exported: onnx.ModelProto) -> None:
    assert_seen(seen_in(network, PAIRS), activations(exported, PAIRS))


def test_a_network_that_sees_each_image_alone(
    flownetc: FlowNetC, flownetc_exported: onnx.ModelProto
) -> None:
    """Its first layers are in the graph twice."""
    assert_seen(seen_in(flownetc, PAIRS), activations(flownetc_exported, PAIRS))


def test_of_a_large_map_an_even_sample(network: FlowNetS, exported: onnx.ModelProto) -> None:
    pairs = [noise(1, 256, 320, seed=1)]
    found = seen_in(network, pairs)
    for layer, values in activations(exported, pairs).items():
        if layer.startswith("upsampled"):  # equal weights, exported once
            continue
        sample = found[layer].sample
        assert sample.size == values.size or 2**14 < sample.size < 2**16, layer
        shares = np.linspace(0.01, 0.99, 50)
        distance = np.abs(np.quantile(sample, shares) - np.quantile(values, shares))
        assert distance.max() < 0.02 * np.ptp(values), layer
    assert found["conv1"].sample.size < 6 * 256 * 320


def test_ranges_are_those_of_what_was_seen(network: FlowNetS) -> None:
    found = seen_in(network, PAIRS)
    assert found.keys() >= {"conv1", "conv6_1", "deconv2", "predict_flow2"}
    # Normalised colours of noise: (0.. 255) / 255 - mean, of which the first mean is 0.45.
    assert 0.45 < mse_range(found["conv1"].sample) < 0.6


@pytest.mark.parametrize(
    ("weight", "layer"),
    [
        ("network.conv1.0.weight", "conv1"),
        ("network.conv3_1.0.weight", "conv3_1"),
        ("network.predict_flow6.weight", "predict_flow6"),
        ("network.upsampled_flow6_to_5.weight", "upsampled_flow6_to_5"),
        ("network.encoder.0.0.weight", "encoder.0"),
        ("network.network.head.weight", "network.head"),
    ],
)
def test_a_layer_is_named_after_its_module(weight: str, layer: str) -> None:
    assert layer_of(helper.make_node("Conv", ["x", weight, "bias"], ["y"])) == layer
