"""A quantised graph in float, for runtimes that compute int8 no faster."""

import numpy as np
import onnx
from onnx import numpy_helper

_QUANTISE, _DEQUANTISE = "QuantizeLinear", "DequantizeLinear"


def float_from_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without QuantizeLinear and DequantizeLinear, or the graph if it has none.

    Activations are not rounded any more; weights are the floats that their int8 codes stand for.

    Args:
        model: not modified.
    """
    if not any(node.op_type == _DEQUANTISE for node in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == _QUANTISE}
    floats: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != _DEQUANTISE:
            continue
        if node.input[0] in constants:
            weights = _dequantised(node, constants)
            graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        else:
            floats[node.output[0]] = sources[node.input[0]]
    kept = [node for node in graph.node if node.op_type not in (_QUANTISE, _DEQUANTISE)]
    for node in kept:
        for place, name in enumerate(node.input):
            while name in floats:
                name = floats[name]
            node.input[place] = name
    del graph.node[:]
    graph.node.extend(kept)
    _remove_unused(graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def _dequantised(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> np.ndarray:  # of float32
    codes, scale, *zero = (numpy_helper.to_array(constants[name]) for name in node.input)
    values = codes.astype(np.float32)
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    shape = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)]
    if scale.ndim:
        scale, zero = scale.reshape(shape), [each.reshape(shape) for each in zero]
    if zero:
        values = values - zero[0].astype(np.float32)
    return (values * scale).astype(np.float32)


def _remove_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
