"""FlowNet2 with a sixteenth of its channels: one graph of five networks, in every precision."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engine.bundle.manifest import SizeProfile
from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from export.graph.precision import HalfNetwork
from export.int8.calibrate import calibrate
from export.int8.quantise import int8_from_fp32
from export.int8.scaling import consumers_in, scaled
from export.tensorrt.plan_from_onnx import build_plan
from export.verify.noise import noise
from tests.export.matrix import faults_of
from tests.export.runtimes import INT8_RUNTIMES, RUNTIMES, Runner, distance, random_images
from tests.export.tiny import seeded
from training.int8.fake_quant import layers_for_int8
from training.int8.ranges import choose_parameters
from training.networks import NETWORKS
from training.networks.flownet2 import FlowNet2
from training.networks.upsampling import upsample_matmul
from training.normalise import PairMean

ENTRY = NETWORKS["flownet2"]
# FlowNetC (its first three layers for each image), two FlowNetS, FlowNetSD, the fusion.
N_CONVOLUTIONS = 27 + 2 * 23 + 30 + 14


@pytest.fixture(scope="module")
def network() -> FlowNet2:
    return seeded(lambda: FlowNet2(width=1 / 16))


@pytest.fixture(scope="module")
def exported(network: FlowNet2) -> onnx.ModelProto:
    return onnx_from_torch(Deployable(network, PairMean(), upsample_matmul), metadata={})


@pytest.fixture(scope="module")
def quantised(network: FlowNet2, exported: onnx.ModelProto) -> onnx.ModelProto:
    pairs = [noise(1, 64, 128, seed=seed) for seed in range(2)]
    statistics = calibrate(Deployable(network, PairMean()), pairs)
    parameters = choose_parameters(consumers_in({"model.onnx": exported}), statistics, ENTRY.int8)
    return int8_from_fp32(
        scaled(exported, parameters.factors),
        parameters.ranges,
        ENTRY.int8.float_layers,
        ENTRY.int8.residual_layers,
    )


def flow_of(network: torch.nn.Module, *images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return Deployable(network, PairMean())(*map(torch.from_numpy, images)).numpy()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes_compute_the_same_flow(runtime, network, exported):
    run: Runner = runtime(exported)
    for size in ((1, 128, 64), (2, 64, 192)):
        images = random_images(*size)
        assert distance(run(*images), flow_of(network, *images)) < 1e-4


def test_one_graph_with_four_warps(exported):
    kinds = [node.op_type for node in exported.graph.node]
    assert kinds.count("GridSample") == 4
    assert kinds.count("Conv") + kinds.count("ConvTranspose") == N_CONVOLUTIONS


def test_float16(network):
    half = HalfNetwork(network, fp32_islands=ENTRY.fp32_islands)
    images = random_images(1, 64, 128)
    assert distance(flow_of(half, *images), flow_of(network, *images)) < 1e-2


def test_recipe_names_layers_that_are_there(network):
    names = set(dict(network.named_modules()))
    recipe = ENTRY.int8
    for layers in (recipe.scaled_layers, recipe.unclipped_layers, recipe.residual_layers):
        assert set(layers) <= names
        assert set(layers).isdisjoint(recipe.float_layers)
    assert set(recipe.float_layers) | set(ENTRY.fp32_islands) <= names


def test_layers_in_int8(network, quantised):
    """All but those that the recipe keeps in float."""
    found = {
        re.sub(r"^network\.|(\.0)?\.weight_quantized$", "", tensor.name)
        for tensor in quantised.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith("weight_quantized")
    }
    assert found == set(layers_for_int8(network, ENTRY.int8))


@pytest.mark.parametrize("runtime", INT8_RUNTIMES)
def test_int8(runtime, network, quantised):
    pair = noise(1, 64, 128, seed=5)
    images = pair.image1, pair.image2
    assert distance(runtime(quantised)(*images), flow_of(network, *images)) < 0.3


def test_tensorrt_for_rtx_builds_a_plan(exported: onnx.ModelProto, tmp_path: Path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    model = tmp_path / "model.onnx"
    onnx.save(exported, model)
    profile = SizeProfile(min=(1, 64, 64), opt=(1, 64, 128), max=(2, 128, 256))
    built = build_plan(
        model, tmp_path / "model.rtx", profile, precision="fp32", packages=["tensorrt_rtx"]
    )
    assert not faults_of((tmp_path / built.file).read_bytes())
