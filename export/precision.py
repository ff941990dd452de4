"""Precision written into the graph, and fp32 weights stored in half the bytes."""

import copy
from collections.abc import Callable
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

# A Cast node and its names take about a hundred bytes; smaller tensors are not worth one.
_SMALLEST_STORED_IN_HALF = 256


class _InFloat(nn.Module):
    """Computes a module in float32 and hands float32 on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.float()

    def forward(self, *inputs: Tensor) -> Tensor:
        return cast(Tensor, self.module(*(x.float() for x in inputs)))


class HalfNetwork(nn.Module):
    """A copy of a network that computes in float16 between explicit casts.

    Runtimes need no precision flag for a graph traced from it (TensorRT 11 has none).

    Args:
        network: the fp32 network; left as it is.
        fp32_islands: names of the submodules that compute in float32. Their outputs stay float32,
            so what follows an island inside the network must be one too.
    """

    def __init__(self, network: nn.Module, *, fp32_islands: tuple[str, ...]) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()
        for name in fp32_islands:
            original = copy.deepcopy(network.get_submodule(name))
            self.network.set_submodule(name, _InFloat(original))
        self.divisor = network.divisor
        self.flow_scale = network.flow_scale
        self.output_stride = network.output_stride

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Like the network's own: float32 in, float32 out."""
        return _in_float(self.network(image1.half(), image2.half()))

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Like a `SiameseNetwork`'s own: float32 in, float16 out."""
        features = cast(Callable[[Tensor], tuple[Tensor, Tensor]], self.network.features)
        return features(image.half())

    def match(self, skip: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Like a `SiameseNetwork`'s own: float16 in, float32 out."""
        match = cast(Callable[..., tuple[Tensor, ...]], self.network.match)
        return _in_float(match(skip, first, second))


def _in_float(flows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(flow.float() for flow in flows)


def store_in_half(model: onnx.ModelProto) -> None:
    """Store float32 weights as float16 and a Cast, in place, wherever that loses nothing.

    Runtimes fold the Cast when they load the model, so it computes the very same numbers from a
    file of half the size. Weights that float16 cannot hold exactly stay as they are, and so do
    int8's scales, which have to be constants.
    """
    casts = []
    quantising = ("QuantizeLinear", "DequantizeLinear")
    scales = {node.input[1] for node in model.graph.node if node.op_type in quantising}
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in scales:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < _SMALLEST_STORED_IN_HALF or not np.array_equal(half, values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
