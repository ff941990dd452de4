"""The project's operators in standard ones, which every runtime computes.

The file's metadata name the tensors between which these are, for a runtime that has a kernel for
the whole operator (`engine.backends.openvino.operators`).
"""

from functools import cache

import onnx
import torch
from torch import Tensor, nn

from engine.backends.onnx_graphs import OPERATORS as KEY
from export.graph.operators import NAMESPACE, OPERATORS, Axes, Operator
from export.graph.recurrent import renamed
from export.graph.torch_export import cast_images_first, export
from training.networks.entry import Port


def in_standard_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose nodes of `export.graph.operators` are replaced by standard ones.

    Returns:
        The model, with what was replaced in its metadata, under `KEY`.
    """
    known = {operator.name: operator for operator in OPERATORS}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    lines = []
    for node in model.graph.node:
        if node.domain != NAMESPACE or node.op_type not in known:
            nodes.append(node)
            continue
        body = _alone(known[node.op_type]).graph
        names = {value.name: f"{node.op_type}.{value.name}" for value in body.initializer}
        ports = [value.name for value in (*body.input, *body.output)]
        names |= zip(ports, (*node.input, *node.output), strict=True)
        copy = renamed(body, f"{node.output[0]}.", names)
        nodes += copy.node
        constants |= {constant.name: constant for constant in copy.initializer}
        lines.append(" ".join((node.op_type, *node.input, *node.output)))
    if not lines:
        return model
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants.values())
    for opset in [opset for opset in model.opset_import if opset.domain == NAMESPACE]:
        model.opset_import.remove(opset)
    model.metadata_props.add(key=KEY, value="\n".join(lines))
    cast_images_first(model)  # those that read an image inside of an operator until now
    onnx.checker.check_model(model, full_check=True)
    return model


@cache
def _alone(operator: Operator) -> onnx.ModelProto:
    """Return the graph of one operator."""
    inputs = {
        _port(name, axes): torch.zeros(*map(_length, axes), dtype=operator.dtype)
        for name, axes in operator.inputs.items()
    }
    return export(_Function(operator), inputs, [_port("output", operator.output)])


def _length(axis: str | int) -> int:
    return axis if isinstance(axis, int) else _EXAMPLE[axis]


# Lengths differ from each other and from constants, as tracing demands.
_EXAMPLE = {
    "batch": 7, "height": 32, "width": 40, "height / 2": 16, "width / 2": 20, "height / 4": 8,
    "width / 4": 10,
}  # fmt: skip


def _port(name: str, axes: Axes) -> Port:
    return Port(name, tuple(axis if isinstance(axis, str) else "" for axis in axes))


class _Function(nn.Module):
    smallest = 4

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.divisor = operator.divisor
        self._function = operator.function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._function(*inputs)
