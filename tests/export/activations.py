"""What enters each convolution of an ONNX graph, as ONNX Runtime computes it."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from engine.data.pair import Pair
from export.int8.layers import CONVOLUTIONS, layer_of


def activations(model: onnx.ModelProto, pairs: Sequence[Pair]) -> dict[str, NDArray[np.float32]]:
    """All inputs of each layer, (C, n)."""
    readers = [node for node in model.graph.node if node.op_type in CONVOLUTIONS]
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    names = list({node.input[0] for node in readers})
    changed.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(
        changed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    seen = defaultdict(list)
    for pair in pairs:
        images = {"image1": pair.image1, "image2": pair.image2}
        maps = dict(zip(names, session.run(names, images), strict=True))
        for node in readers:
            values = maps[node.input[0]]
            seen[layer_of(node)].append(values.swapaxes(0, 1).reshape(values.shape[1], -1))
    return {layer: np.concatenate(found, axis=1) for layer, found in seen.items()}
