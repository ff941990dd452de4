"""Flow heads as transposed convolutions, which are faster on CPUs."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Output channels; a flow has two.
_MAX_CHANNELS = 4
# The axis of a weight's output channels.
_OUTPUTS = {"Conv": 0, "ConvTranspose": 1}


def transpose_heads(model: onnx.ModelProto) -> None:
    """Replace convolutions with few output channels by equivalent transposed ones, in place.

    At stride 1 a transposed convolution is a convolution with a flipped kernel. ONNX Runtime's
    convolution kernels compute blocks of 8 or 16 output channels, of which a flow uses two; its
    transposed convolution is a matrix product. For an int8 one, OpenVINO quantises the inputs of
    the preceding Concat (see `export.int8.quantise`), which moves a quarter of the bytes.
    """
    for weight, heads in _heads(model.graph, "Conv"):
        values = numpy_helper.to_array(weight)  # (out, in, H, W)
        flipped = np.flip(values, (2, 3)).swapaxes(0, 1)
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(flipped), weight.name))
        for node in heads:
            node.op_type = "ConvTranspose"


def split_heads(model: onnx.ModelProto) -> None:
    """Compute the heads of `transpose_heads` that are in float32 along columns, then along rows.

    In place. The first convolution has the kernel's columns as output channels, of which the second
    one adds each to its place. OpenVINO computes 8 or 16 output channels at once: six take the time
    of two, and a third of the products is left. The two take half of the time of one with 16
    channels at 96x128.
    """
    second: dict[str, onnx.NodeProto] = {}
    for weight, heads in _heads(model.graph, "ConvTranspose"):
        values = numpy_helper.to_array(weight)  # (in, out, H, W)
        inputs, outputs, height, width = values.shape
        if values.dtype != np.float32 or height == 1 or width == 1:
            continue
        columns = values.transpose(0, 3, 1, 2).reshape(inputs, width * outputs, height, 1)
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(columns), weight.name))
        places = f"columns_{outputs}x{width}"
        if places not in {tensor.name for tensor in model.graph.initializer}:
            added = np.einsum("wv,oc->wocv", np.eye(width), np.eye(outputs))
            added = added.reshape(width * outputs, outputs, 1, width).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(added, places))
        for node in heads:
            second[node.output[0]] = _along_rows(node, places, width)
            _set(node, kernel_shape=[height, 1], pads=[height // 2, 0] * 2)
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.output and (along_rows := second.get(node.output[0])) is not None:
            del node.input[2:]
            node.output[0] = along_rows.input[0]
            nodes.append(along_rows)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _along_rows(head: onnx.NodeProto, weight: str, width: int) -> onnx.NodeProto:
    node = onnx.NodeProto()
    node.CopyFrom(head)
    node.name = f"{head.name}.rows"
    node.input[:2] = [f"{head.output[0]}.columns", weight]
    _set(node, kernel_shape=[1, width], pads=[0, width // 2] * 2)
    return node


def _set(node: onnx.NodeProto, **values: list[int]) -> None:
    for item in node.attribute:
        if item.name in values:
            item.CopyFrom(helper.make_attribute(item.name, values[item.name]))


def _heads(
    graph: onnx.GraphProto, kind: str
) -> Iterator[tuple[onnx.TensorProto, list[onnx.NodeProto]]]:
    """Yield each weight that only heads of this kind read, and the heads.

    They are several in a network that is applied repeatedly.
    """
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for weight in list(graph.initializer):
        heads = readers[weight.name]
        if heads and all(_is_head(node, weight, kind) for node in heads):
            yield weight, heads


def _is_head(node: onnx.NodeProto, weight: onnx.TensorProto, kind: str) -> bool:
    """Return whether it has few outputs and the same attributes when transposed."""
    if node.op_type != kind or node.input[1] != weight.name:
        return False
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    height, width = found["kernel_shape"]
    return (
        weight.dims[_OUTPUTS[kind]] <= _MAX_CHANNELS
        and set(found["strides"]) == set(found["dilations"]) == {1}
        and found["group"] == 1
        and found["auto_pad"] == b"NOTSET"
        and not any(found.get("output_padding", ()))
        and found["pads"] == [side // 2 for side in (height, width) * 2]
        and height % 2 == width % 2 == 1
    )
