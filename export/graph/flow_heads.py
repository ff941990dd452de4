"""Flow heads as transposed convolutions, which are faster on CPUs."""

from collections import defaultdict

import numpy as np
import onnx

# Output channels; a flow has two.
_MAX_CHANNELS = 4


def transpose_heads(model: onnx.ModelProto) -> None:
    """Replace convolutions with few output channels by equivalent transposed ones, in place.

    At stride 1 a transposed convolution is a convolution with a flipped kernel. ONNX Runtime's
    convolution kernels compute blocks of 8 or 16 output channels, of which a flow uses two; its
    transposed convolution is a matrix product. For an int8 one, OpenVINO quantises the inputs of
    the preceding Concat (see `export.int8.quantise`), which moves a quarter of the bytes.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    for name, weight in weights.items():
        heads = readers[name]  # several: a network that is applied repeatedly
        if not heads or not all(_is_head(node, weight) for node in heads):
            continue
        values = onnx.numpy_helper.to_array(weight)  # (out, in, H, W)
        flipped = np.flip(values, (2, 3)).swapaxes(0, 1)
        weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(flipped), name))
        for node in heads:
            node.op_type = "ConvTranspose"


def _is_head(node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    """Return whether it has few outputs and the same attributes when transposed."""
    if node.op_type != "Conv" or node.input[1] != weight.name:
        return False
    found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    height, width = found["kernel_shape"]
    return (
        weight.dims[0] <= _MAX_CHANNELS
        and set(found["strides"]) == set(found["dilations"]) == {1}
        and found["group"] == 1
        and found["auto_pad"] == b"NOTSET"
        and found["pads"] == [side // 2 for side in (height, width) * 2]
        and height % 2 == width % 2 == 1
    )
