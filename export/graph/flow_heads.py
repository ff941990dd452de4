"""Flow heads as transposed convolutions, which are faster on CPUs."""

from collections import Counter

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
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or readers[weight.name] > 1 or not _is_head(node, weight.dims[0]):
            continue
        values = onnx.numpy_helper.to_array(weight)  # (out, in, H, W)
        flipped = np.flip(values, (2, 3)).swapaxes(0, 1)
        weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(flipped), weight.name))
        node.op_type = "ConvTranspose"


def _is_head(node: onnx.NodeProto, channels: int) -> bool:
    """Return whether it has few outputs and the same attributes when transposed."""
    found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    height, width = found["kernel_shape"]
    return (
        channels <= _MAX_CHANNELS
        and set(found["strides"]) == set(found["dilations"]) == {1}
        and found["group"] == 1
        and found["auto_pad"] == b"NOTSET"
        and found["pads"] == [side // 2 for side in (height, width) * 2]
        and height % 2 == width % 2 == 1
    )
