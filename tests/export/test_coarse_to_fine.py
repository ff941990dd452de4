"""The shipped weights, exported in one pass and in two, compute what PyTorch does."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine.backends.onnx_graphs import OPERATORS
from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from export.graph.passes_from_torch import passes_from_torch
from export.graph.precision import HalfNetwork
from export.verify.noise import noise
from tests.export.runtimes import with_onnxruntime
from training.networks import coarse_to_fine
from training.networks.registry import NETWORKS
from training.networks.upsampling import upsample_matmul
from training.normalise import Centred
from training.weights import load_weights, network_from_weights, shipped_weights

NAME = "coarse_to_fine_slim"
SIZES = [(128, 192), (192, 64)]


def network_of(passes: int) -> nn.Module:
    network = network_from_weights(NAME, load_weights(shipped_weights(NAME))).eval()
    network.passes = passes
    return network


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Two and one in place of four and three: ONNX Runtime opens the graphs in less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse_to_fine, "_STEPS", (2, 1))
        yield


@pytest.fixture(scope="module")
def models() -> Mapping[int, onnx.ModelProto]:
    """One pass in fp16, two in fp32, by their number."""
    half = HalfNetwork(network_of(1), fp32_islands=NETWORKS[NAME].fp32_islands)
    return {
        1: onnx_from_torch(Deployable(half, Centred(), upsample_matmul), metadata={}),
        2: passes_from_torch(network_of(2), Centred(), 2, metadata={}),
    }


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_a_graph_computes_what_pytorch_does(
    models: Mapping[int, onnx.ModelProto], passes: int, size: tuple[int, int]
) -> None:
    pair = noise(2, *size, seed=3)
    with torch.inference_mode():
        images = (torch.from_numpy(image) for image in (pair.image1, pair.image2))
        expected = Deployable(network_of(passes), Centred())(*images).numpy()
    found = with_onnxruntime(models[passes])(pair.image1, pair.image2)
    distance = np.linalg.norm(found - expected, axis=-1)
    assert np.linalg.norm(expected, axis=-1).mean() > 0.5
    assert distance.mean() <= (0.04 if passes == 1 else 1e-3)


@pytest.mark.parametrize("passes", [1, 2])
def test_images_go_into_a_cast_alone(models: Mapping[int, onnx.ModelProto], passes: int) -> None:
    """TensorRT takes them nowhere else."""
    readers = {
        node.op_type for node in models[passes].graph.node if {"image1", "image2"} & {*node.input}
    }
    assert readers == {"Cast"}


@pytest.mark.parametrize(("passes", "expected"), [(1, (1, 0, 3)), (2, (1, 1, 6))])
def test_the_metadata_name_the_operators(
    models: Mapping[int, onnx.ModelProto], passes: int, expected: tuple[int, ...]
) -> None:
    (text,) = (x.value for x in models[passes].metadata_props if x.key == OPERATORS)
    names = [line.split()[0] for line in text.splitlines()]
    kinds = ("quarter_pixels", "halve_images", "remaining_motion")
    assert tuple(map(names.count, kinds)) == expected
