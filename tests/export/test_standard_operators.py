"""The project's operators in exported graphs: what they compute, and where the metadata say."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from engine.backends.onnx_graphs import OPERATORS as KEY
from engine.backends.openvino import operators as in_openvino
from engine.bundle.shipped import DEFAULT_BUNDLE
from export.graph.deployable import Deployable
from export.graph.operators import OPERATORS, Operator, operators_called
from export.graph.standard_operators import _alone
from training.networks import downsampling, refinement
from training.networks.coarse_to_fine import CoarseToFineFlowNetS
from training.normalise import Centred

SIZES = {"batch": 2, "height": 8, "width": 28, "height / 2": 4, "width / 2": 14}
SIZES |= {"height / 4": 2, "width / 4": 7}


def drawn(operator: Operator) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = ([SIZES.get(axis, axis) for axis in axes] for axes in operator.inputs.values())
    if operator.dtype == torch.uint8:
        return [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]
    return [torch.randn(*shape) for shape in shapes]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_standard_operators_compute_the_function(operator: Operator) -> None:
    """At another size than that of the export."""
    model = _alone(operator)
    assert {node.domain for node in model.graph.node} == {""}
    inputs = drawn(operator)
    values = {name: x.numpy() for name, x in zip(operator.inputs, inputs, strict=True)}
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, values)
    expected = operator.function(*inputs)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    empty = operator.empty(*inputs)
    assert (empty.shape, empty.dtype) == (expected.shape, expected.dtype)


def test_openvino_knows_the_names() -> None:
    assert sorted(in_openvino._OPERATORS) == sorted(operator.name for operator in OPERATORS)


def test_networks_call_the_operators_while_they_are_exported(monkeypatch) -> None:
    """By their modules' names, which an import of the function itself would miss."""
    called = []

    def count(operator: Operator, *inputs: torch.Tensor) -> torch.Tensor:
        called.append(operator.name)
        return operator.function(*inputs)

    monkeypatch.setattr(Operator, "__call__", count)
    network = CoarseToFineFlowNetS(width=1 / 16).eval()
    network.passes = 2
    images = torch.zeros(2, 1, 64, 128, 3, dtype=torch.uint8)
    with torch.no_grad(), operators_called():
        Deployable(network, Centred())(*images)
    assert called.count("quarter_pixels") == 1
    # In each of two passes four steps of one refinement and three of the other.
    assert called.count("halve_images") == 1
    assert called.count("derivatives") == 2
    assert called.count("remaining_motion") == 14
    assert not isinstance(refinement.remaining_motion, Operator)
    assert not isinstance(downsampling.halve_images, Operator)


@pytest.mark.parametrize("planes", [torch.zeros(1, 3, 4, 4), torch.zeros(1, 6, 4, 4).half()])
def test_other_channels_and_types_are_left_to_the_function(planes: torch.Tensor) -> None:
    """An operator's graph has weights for its own."""
    with operators_called():
        halved = downsampling.halve_images(planes)
    assert (halved.shape[1:], halved.dtype) == ((planes.shape[1], 2, 2), planes.dtype)


def test_all_of_the_default_bundle_s_operators_are_found() -> None:
    """After quantisation and all that changes a graph."""
    model = onnx.load(DEFAULT_BUNDLE / "model.onnx")
    (text,) = (item.value for item in model.metadata_props if item.key == KEY)
    lines = [line.split() for line in text.split("\n")]
    known = {value.name for value in model.graph.input}
    known |= {name for node in model.graph.node for name in node.output}
    assert {name for _, *tensors in lines for name in tensors} <= known
    names = np.array([line[0] for line in lines])
    assert [(names == operator.name).sum() for operator in OPERATORS] == [1, 0, 1, 7]
