"""Cross-layer scaling of networks: the same flow, the same parameters as in training."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from engine.backends.onnx_graphs import SPLIT, WHOLE
from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from export.int8.calibrate import calibrate
from export.int8.scaling import consumers_in, scaled
from export.verify.noise import noise
from tests.export.activations import activations
from tests.export.scaling import assert_same, changed, run
from tests.export.tiny import seeded, tiny_flownetc
from training.int8.fake_quant import consumers_in as consumers_in_network
from training.int8.ranges import ActivationStatistics, choose_parameters, mse_range
from training.networks.entry import Int8Recipe
from training.networks.flownetc import FlowNetC
from training.networks.flownets_pyramid import PyramidFlowNetS
from training.networks.layers import FlowNetwork
from training.networks.registry import NETWORKS
from training.networks.upsampling import upsample_matmul
from training.normalise import FixedMean

FLOWNETC = NETWORKS["flownetc"].int8
PAIRS = [noise(1, 64, 64, seed=1), noise(1, 128, 64, seed=2)]


def test_the_flow_is_unchanged(deployable: Deployable, exported: onnx.ModelProto) -> None:
    before = exported.SerializeToString()
    observed = calibrate(deployable, PAIRS)
    recipe = replace(NETWORKS["flownets"].int8, unclipped_layers=())
    chosen = choose_parameters(consumers_in({WHOLE: exported}), observed, recipe)
    result = scaled(exported, chosen.factors)
    assert exported.SerializeToString() == before
    # Not conv3_1, which conv4 reads, too, nor the flow upsampling layers: their initial weights are
    # equal and exported once.
    deconvolutions = {f"deconv{n}" for n in (2, 3, 4, 5)}
    assert chosen.factors.keys() == {"conv1", "conv2", "conv3"} | deconvolutions
    # The biases are 0.
    layers = {f"{name}.0.weight" for name in ("conv1", "conv2", "conv3", "conv3_1")}
    layers |= {f"{name}.0.weight" for name in deconvolutions}
    assert changed(exported, result) == layers | {f"predict_flow{n}.weight" for n in (2, 3, 4, 5)}
    for pair in PAIRS:
        assert_same(*(run(model, pair.image1, pair.image2) for model in (exported, result)))
    # The ranges are those that calibration of the scaled graph would give.
    seen = activations(result, PAIRS)
    # Equal weights are exported once.
    assert {x for x in chosen.ranges.keys() ^ seen.keys() if not x.startswith("upsampled")} == set()
    for layer, values in seen.items():
        if layer.startswith("upsampled"):
            continue
        top = chosen.ranges[layer]
        share = 0.7 if layer in recipe.scaled_layers else 1.0
        largest = 0.8 * np.abs(values).max()
        expected = largest if layer in recipe.decoder_inputs else share * mse_range(values)
        assert top == pytest.approx(expected, rel=1e-2), layer


def test_training_and_export_choose_the_same_parameters() -> None:
    network = seeded(tiny_flownetc)
    # Equal weights would be exported once.
    for name, module in network.named_modules():
        if name.startswith("upsampled"):
            torch.nn.init.normal_(module.weight)  # type: ignore[arg-type]
    model = onnx_from_torch(Deployable(network, FixedMean(), upsample_matmul), metadata={})
    assert_parameters_are_the_same(network, model, NETWORKS["flownetc"].int8)


def test_training_and_export_choose_the_same_parameters_of_the_pyramid(
    pyramid: PyramidFlowNetS, pyramid_exported: onnx.ModelProto
) -> None:
    assert_parameters_are_the_same(pyramid, pyramid_exported, NETWORKS["flownets_pyramid"].int8)


def assert_parameters_are_the_same(
    network: FlowNetwork, model: onnx.ModelProto, recipe: Int8Recipe
) -> None:
    """Consumers found in the PyTorch module and in the graph are the same."""
    seen = calibrate(Deployable(network, FixedMean()), PAIRS[:1])
    chosen = choose_parameters(consumers_in({WHOLE: model}), seen, recipe)
    in_network = choose_parameters(consumers_in_network(network), seen, recipe)
    assert chosen.factors
    for part in ("factors", "ranges"):
        expected, found = (getattr(x, part) for x in (chosen, in_network))
        assert found.keys() == expected.keys()
        for layer in found:
            np.testing.assert_array_equal(found[layer], expected[layer], err_msg=layer)


def test_of_two_graphs_the_second_is_scaled(
    flownetc: FlowNetC, flownetc_split: tuple[onnx.ModelProto, onnx.ModelProto]
) -> None:
    """The skip connection is an input of the second graph and is not scaled."""
    models = dict(zip(SPLIT, flownetc_split, strict=True))
    chosen = choose_parameters(consumers_in(models), seen_in(flownetc), FLOWNETC)
    features, match = (scaled(model, chosen.factors) for model in flownetc_split)
    assert not changed(flownetc_split[0], features)
    assert "deconv2.0.weight" in changed(flownetc_split[1], match)
    generator = np.random.default_rng(0)
    channels = [value.type.tensor_type.shape.dim[3].dim_value for value in match.graph.input]
    maps = [
        generator.normal(size=(1, side, side, count)).astype(np.float32)
        for side, count in zip((32, 16, 16), channels, strict=True)
    ]
    assert_same(*(run(model, *maps) for model in (flownetc_split[1], match)))


def seen_in(flownetc: FlowNetC) -> dict[str, ActivationStatistics]:
    return calibrate(Deployable(flownetc, FixedMean()), PAIRS)


def test_the_correlation_is_not_scaled(
    flownetc: FlowNetC, flownetc_exported: onnx.ModelProto
) -> None:
    """It is concatenated, too, but does not grow with the motion."""
    seen = seen_in(flownetc)
    chosen = choose_parameters(consumers_in({WHOLE: flownetc_exported}), seen, FLOWNETC)
    assert "conv_redir" not in chosen.factors
    assert chosen.ranges["conv3_1"] == mse_range(seen["conv3_1"].sample)
