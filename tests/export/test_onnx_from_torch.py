import gc
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from tests.export.runtimes import RUNTIMES, Runner, random_images
from tests.export.tiny import seeded, tiny_flownets
from training.normalise import FixedMean


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, exported: onnx.ModelProto) -> Runner:
    return request.param(exported)


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 128, 320), (3, 192, 64)])
def test_graph_equals_pytorch_at_any_size(
    runtime: Runner, deployable: Deployable, shape: tuple[int, int, int]
) -> None:
    image1, image2 = random_images(*shape)
    with torch.inference_mode():
        expected = deployable(torch.from_numpy(image1), torch.from_numpy(image2)).numpy()

    flow = runtime(image1, image2)

    assert np.abs(expected).max() > 1  # otherwise the comparison would say little
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, expected, atol=1e-3)


def test_interface(exported: onnx.ModelProto) -> None:
    described = {
        value.name: (
            value.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
        )
        for value in (*exported.graph.input, *exported.graph.output)
    }
    image = (TensorProto.UINT8, ["batch", "height", "width", 3])
    flow = (TensorProto.FLOAT, ["batch", "height", "width", 2])
    assert described == {"image1": image, "image2": image, "flow": flow}
    assert exported.opset_import[0].version == 18
    assert not exported.functions


@pytest.mark.parametrize("image", ["image1", "image2"])
def test_images_go_straight_into_a_cast_for_tensorrt(exported: onnx.ModelProto, image: str) -> None:
    assert [node.op_type for node in exported.graph.node if image in node.input] == ["Cast"]


def test_file_says_what_it_is_and_nothing_of_the_exporting_machine(
    exported: onnx.ModelProto,
) -> None:
    metadata = {entry.key: entry.value for entry in exported.metadata_props}
    assert metadata == {"network": "tiny", "precision": "fp32"}
    content = exported.SerializeToString()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert b".py" not in content


def test_the_graph_reads_each_size_once(exported: onnx.ModelProto) -> None:
    sizes = [
        (node.input[0], *(attribute.i for attribute in node.attribute))
        for node in exported.graph.node
        if node.op_type == "Shape"
    ]
    assert len(sizes) == len(set(sizes)) <= 5
    assert len(exported.graph.node) < 100


def test_the_weights_of_an_exported_network_can_be_freed() -> None:
    """The exporter's optimizer keeps its last graph: it must not keep the weights with it."""
    network = seeded(tiny_flownets)
    weight = weakref.ref(network.conv6[0].weight)  # type: ignore[index]
    onnx_from_torch(Deployable(network, FixedMean()), metadata={})
    del network
    gc.collect()
    assert weight() is None
