import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from export.graph.deployable import Deployable
from export.graph.precision import HalfNetwork
from tests.export.runtimes import RUNTIMES, Runner, random_images
from training.networks.flownets import FlowNetS
from training.networks.registry import NETWORKS


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_half_graph_is_close_to_fp32_pytorch(
    runtime: Runner, half_exported: onnx.ModelProto, deployable: Deployable
) -> None:
    image1, image2 = random_images(2, 128, 192)
    with torch.inference_mode():
        expected = deployable(torch.from_numpy(image1), torch.from_numpy(image2)).numpy()
    distance = np.linalg.norm(runtime(half_exported)(image1, image2) - expected, axis=-1)
    assert (
        distance.mean() < NETWORKS["flownets"].tolerances["fp16"].relative * np.abs(expected).mean()
    )


def test_precision_is_in_the_graph(half_exported: onnx.ModelProto) -> None:
    """No flag and no runtime decides: all convolutions are half, but for the finest head."""
    inferred = onnx.shape_inference.infer_shapes(half_exported, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    convolutions = [
        node for node in half_exported.graph.node if node.op_type in ("Conv", "ConvTranspose")
    ]
    in_float = [node for node in convolutions if types[node.output[0]] == TensorProto.FLOAT]
    assert len(convolutions) == 23
    assert [node.input[1] for node in in_float] == ["network.network.predict_flow2.module.weight"]


def test_the_fp32_network_is_left_as_it_is(network: FlowNetS) -> None:
    HalfNetwork(network, fp32_islands=("predict_flow2",))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
