"""Store float32 weights as float16 where that is exact."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.recurrent import graphs_of

# A Cast node with its names takes about a hundred bytes.
_MIN_VALUES = 256
_SUFFIX = ".half"


def store_in_half(model: onnx.ModelProto) -> None:
    """Store float32 weights as float16 and a Cast, in place, where that is exact.

    Runtimes fold the Cast when they load the model, so the results are the same and the file is
    half the size. Quantisation scales are not changed: they have to be constants.
    """
    for graph in graphs_of(model):
        _store_in_half(graph)


def _store_in_half(graph: onnx.GraphProto) -> None:
    casts = []
    quantising = ("QuantizeLinear", "DequantizeLinear")
    scales = {node.input[1] for node in graph.node if node.op_type in quantising}
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in scales:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < _MIN_VALUES or not np.array_equal(half, values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
        casts.append(
            helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def restore_from_half(model: onnx.ModelProto) -> None:
    """Undo `store_in_half`, in place.

    TensorRT would treat weights behind a Cast as tensors computed at run time.
    """
    for graph in graphs_of(model):
        _restore_from_half(graph)


def _restore_from_half(graph: onnx.GraphProto) -> None:
    stored = {
        tensor.name: tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT16 and tensor.name.endswith(_SUFFIX)
    }
    others = []
    for node in graph.node:
        tensor = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if tensor is None or node.output[0] + _SUFFIX != tensor.name:
            others.append(node)
        else:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    del graph.node[:]
    graph.node.extend(others)
