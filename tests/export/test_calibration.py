"""What calibration sees of each layer against PyTorch's own hooks on the same pairs."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from engine.backends.onnx_graphs import SPLIT, WHOLE
from engine.data.pair import Pair
from export.graph.deployable import Deployable
from export.int8.calibrate import calibrate, layer_of
from export.verify.noise import noise
from training.int8.ranges import mse_range
from training.networks.flownetc import FlowNetC
from training.networks.flownets import FlowNetS
from training.normalise import FixedMean

PAIRS = [noise(1, 64, 64, seed=1), noise(1, 128, 64, seed=2)]


def seen_by_pytorch(network: nn.Module, pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    """All values that enter each convolution, in ascending order."""
    seen = defaultdict(list)
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # The four start alike, and the exporter writes equal weights once, under one name.
            name = "upsampled_flow6_to_5" if name.startswith("upsampled") else name
            hooks.append(
                module.register_forward_pre_hook(
                    lambda _, inputs, name=name: seen[name].append(inputs[0].numpy().ravel())
                )
            )
    with torch.inference_mode():
        for pair in pairs:
            images = (torch.from_numpy(image) for image in (pair.image1, pair.image2))
            Deployable(network, FixedMean())(*images)
    for hook in hooks:
        hook.remove()
    return {name.removesuffix(".0"): np.sort(np.concatenate(x)) for name, x in seen.items()}


def seen_by_calibration(
    models: dict[str, onnx.ModelProto], pairs: Sequence[Pair]
) -> dict[str, np.ndarray]:
    return {layer: np.sort(seen.sample.ravel()) for layer, seen in calibrate(models, pairs).items()}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for layer, values in expected.items():
        np.testing.assert_allclose(
            found[layer], values, atol=1e-4 * np.abs(values).max(), err_msg=layer
        )


def test_every_layer_of_a_whole_graph(network: FlowNetS, exported: onnx.ModelProto) -> None:
    before = exported.SerializeToString()
    found = seen_by_calibration({WHOLE: exported}, PAIRS)
    assert_equal(found, seen_by_pytorch(network, PAIRS))
    assert len(found) == 20
    assert exported.SerializeToString() == before


@pytest.mark.parametrize("split", [False, True])
def test_a_network_that_sees_each_image_alone(
    split: bool,
    flownetc: FlowNetC,
    request: pytest.FixtureRequest,
) -> None:
    """The same of its two graphs as of one, in which its first layers are there twice."""
    if split:
        models = dict(zip(SPLIT, request.getfixturevalue("flownetc_split"), strict=True))
    else:
        models = {WHOLE: request.getfixturevalue("flownetc_exported")}
    found = seen_by_calibration(models, PAIRS)
    assert_equal(found, seen_by_pytorch(flownetc, PAIRS))


def test_of_a_large_map_an_even_sample(network: FlowNetS, exported: onnx.ModelProto) -> None:
    pairs = [noise(1, 256, 320, seed=1)]
    found = seen_by_calibration({WHOLE: exported}, pairs)
    for layer, values in seen_by_pytorch(network, pairs).items():
        sample = found[layer]
        assert len(sample) == values.size or 2**14 < len(sample) < 2**16, layer
        shares = np.linspace(0.01, 0.99, 50)
        distance = np.abs(np.quantile(sample, shares) - np.quantile(values, shares))
        assert distance.max() < 0.02 * np.ptp(values), layer
    assert len(found["conv1"]) < 6 * 256 * 320


def test_ranges_are_those_of_what_was_seen(exported: onnx.ModelProto) -> None:
    found = calibrate({WHOLE: exported}, PAIRS)
    assert found.keys() >= {"conv1", "conv6_1", "deconv2", "predict_flow2"}
    # Normalised colours of noise: (0.. 255) / 255 - mean, of which the first mean is 0.45.
    assert 0.45 < mse_range(found["conv1"].sample) < 0.6


def test_the_largest_of_each_channel_is_that_of_all_pairs(
    network: FlowNetS, exported: onnx.ModelProto
) -> None:
    largest = []
    for pair in PAIRS:
        images = (torch.from_numpy(image) for image in (pair.image1, pair.image2))
        with (
            torch.inference_mode(),
            network.deconv3[0].register_forward_pre_hook(  # type: ignore[index]
                lambda _, inputs: largest.append(inputs[0].abs().amax((0, 2, 3)).numpy())
            ),
        ):
            Deployable(network, FixedMean())(*images)
    for layer in ("deconv3", "predict_flow4"):  # which read the same
        found = calibrate({WHOLE: exported}, PAIRS)[layer].largest
        np.testing.assert_allclose(found, np.maximum(*largest), rtol=1e-3, atol=1e-5)


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
