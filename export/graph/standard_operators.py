"""The project's operators in standard ones, which every runtime computes.

The file's metadata name the tensors between which these are, for a runtime that has a kernel for
the whole operator (`engine.backends.openvino.operators`).
"""

from functools import cache

import onnx
import torch
from torch import Tensor, nn

from engine.backends.onnx_graphs import OPERATORS
from export.graph.onnx_from_torch import export
from export.graph.operators import LOCAL_MOTION, NAMESPACE
from export.graph.recurrent import renamed
from training.networks.entry import Port
from training.networks.refinement import remaining_motion


def in_standard_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the nodes of `export.graph.operators.operator_table` by standard ones, in place.

    Returns:
        The model, with `OPERATORS` in its metadata if there were such nodes.
    """
    found = [node for node in model.graph.node if node.op_type == LOCAL_MOTION]
    if not found:
        return model
    body = _local_motion().graph
    ports = [value.name for value in (*body.input, *body.output)]
    constants = {constant.name: f"{LOCAL_MOTION}.{constant.name}" for constant in body.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == LOCAL_MOTION:
            names = constants | dict(zip(ports, (*node.input, *node.output), strict=True))
            nodes += renamed(body, f"{node.output[0]}.", names).node
        else:
            nodes.append(node)
    model.graph.initializer.extend(renamed(body, "", constants).initializer)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for opset in [opset for opset in model.opset_import if opset.domain == NAMESPACE]:
        model.opset_import.remove(opset)
    lines = [" ".join((node.op_type, *node.input, *node.output)) for node in found]
    model.metadata_props.add(key=OPERATORS, value="\n".join(lines))
    onnx.checker.check_model(model, full_check=True)
    return model


@cache
def _local_motion() -> onnx.ModelProto:
    whole, half = ("height", "width"), ("height / 2", "width / 2")
    height, width = 6, 10  # differ from each other and from constants, as tracing demands
    return export(
        _LocalMotion(),
        {
            Port("flow", ("batch", "", *half)): torch.zeros(3, 2, height, width),
            Port("first", ("batch", "", "", "", *half)): torch.zeros(3, 2, 2, 2, height, width),
            Port("second", ("batch", "", *whole)): torch.zeros(3, 2, 2 * height, 2 * width),
        },
        [Port("measured", ("batch", "", *half))],
    )


class _LocalMotion(nn.Module):
    divisor, smallest = 2, 4

    def forward(self, flow: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """See `remaining_motion`."""
        return remaining_motion(flow, first, second)
