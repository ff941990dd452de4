"""Cross-layer scaling applied to an ONNX graph; `training.int8.ranges` explains it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from export.int8.layers import CONVOLUTIONS, layer_of
from training.int8.ranges import Channels, Consumer

_HOMOGENEOUS = ("LeakyRelu", "Relu")


def consumers_in(models: Mapping[str, onnx.ModelProto]) -> dict[str, list[Consumer]]:
    """Return the layers of a bundle's one or two graphs whose output can be scaled.

    Returns:
        By name, all layers that read the output.
    """
    return {
        source.name: [Consumer(read.layer.name, read.channels) for read in reads]
        for model in models.values()
        for source, reads in _Graph(model).sources()
    }


def scaled(model: onnx.ModelProto, factors: Mapping[str, Channels]) -> onnx.ModelProto:
    """Divide layers' output channels by factors and multiply the consumers' weights by them.

    The flow is unchanged.

    Args:
        model: an fp32 graph of `export.graph.onnx_from_torch`; not modified.
        factors: of `QuantisationParameters`; layers that the graph does not have are ignored.

    Raises:
        ValueError: a layer has a consumer that cannot compensate its factors.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = _Graph(result)
    left = factors.keys() & graph.layers
    for source, reads in graph.sources():
        if source.name in left:
            left.remove(source.name)
            graph.divide_outputs(source, factors[source.name])
            for read in reads:
                graph.multiply_inputs(read, factors[source.name])
    if left:  # the ranges would be wrong
        raise ValueError(f"in this graph the outputs of {', '.join(sorted(left))} cannot be scaled")
    return result


class _Layer:
    """A convolution of a graph."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.name = layer_of(node)
        self.output = node.output[0]
        _, self.weight, *self.bias = node.input
        # ONNX: (out, in, H, W) of a Conv, (in, out, H, W) of a ConvTranspose.
        self.output_axis = 0 if node.op_type == "Conv" else 1
        self.input_axis = 1 - self.output_axis


@dataclass(frozen=True)
class _Read:
    """A layer that reads another layer's output, and its input channels that hold it."""

    layer: _Layer
    channels: slice


class _Graph:
    """A graph, with lookups from layers to their consumers and to their weights."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = model.graph.node
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._uses = Counter(name for node in self._nodes for name in node.input)
        self._sharing: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self._nodes:
            if node.op_type in CONVOLUTIONS:
                self._sharing[node.input[1]].append(node)
        self._outputs = {output.name for output in model.graph.output}
        self._inferred = {
            value.name: value.type.tensor_type.shape.dim
            for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        }

    @property
    def layers(self) -> set[str]:
        return {layer_of(node) for node in self._nodes if node.op_type in CONVOLUTIONS}

    def sources(self) -> Iterator[tuple[_Layer, list[_Read]]]:
        """Yield the layers whose output can be scaled, with all their consumers.

        Where a layer is applied several times, all of its consumers have to read it each time.
        """
        for nodes in self._sharing.values():
            if self._owns_weights(nodes[0]):
                channels = slice(0, self._channels(nodes[0].output[0]))
                found = [self._reads(node.output[0], channels) for node in nodes]
                if all(found) and self._are_alike(found):
                    yield _Layer(nodes[0]), found[0]

    def divide_outputs(self, layer: _Layer, factor: Channels) -> None:
        for constant, axis in ((layer.weight, layer.output_axis), *((x, 0) for x in layer.bias)):
            self._multiply(constant, axis, slice(None), np.reciprocal(factor))

    def multiply_inputs(self, read: _Read, factor: Channels) -> None:
        self._multiply(read.layer.weight, read.layer.input_axis, read.channels, factor)

    def _owns_weights(self, convolution: onnx.NodeProto) -> bool:
        count = len(self._sharing[convolution.input[1]])
        return all(self._uses[constant] == count for constant in convolution.input[1:])

    def _are_alike(self, found: Sequence[Sequence[_Read]]) -> bool:
        """Return whether each use of a layer has the same consumers, once, in all their uses."""
        first, *others = (
            sorted((read.layer.weight, read.channels.start, read.channels.stop) for read in reads)
            for reads in found
        )
        uses = {read.layer.output for reads in found for read in reads}
        of_consumers = {node.output[0] for weight, *_ in first for node in self._sharing[weight]}
        once = len({weight for weight, *_ in first}) == len(first)
        return once and all(it == first for it in others) and uses == of_consumers

    def _reads(self, tensor: str, channels: slice) -> list[_Read]:
        """Return all layers that read a tensor; empty if another operator reads it too."""
        found: list[_Read] = []
        for node in (node for node in self._nodes if tensor in node.input):
            if node.op_type in CONVOLUTIONS and self._owns_weights(node):
                reads = [_Read(_Layer(node), channels)]
            elif self._keeps_channels(node):
                reads = self._reads(node.output[0], channels)
            elif node.op_type == "Concat" and node.attribute[0].i == 1:
                before = list(node.input)[: list(node.input).index(tensor)]
                counts = [self._channels(name) for name in before]
                start = sum(counts) + channels.start
                moved = slice(start, start + channels.stop - channels.start)
                reads = self._reads(node.output[0], moved) if all(counts) else []
            else:
                reads = []
            if not reads:
                return []
            found += reads
        return [] if tensor in self._outputs else found

    def _channels(self, tensor: str) -> int:
        """Return the number of channels of a tensor; 0: unknown."""
        node = self._producers.get(tensor)
        if node is not None and self._keeps_channels(node):
            return self._channels(node.input[0])
        if node is not None and node.op_type in CONVOLUTIONS:
            layer = _Layer(node)
            return int(self._constants[layer.weight].dims[layer.output_axis])
        # Shape inference stops at custom operators, which graphs for TensorRT may have.
        shape = self._inferred.get(tensor, ())
        return int(shape[1].dim_value) if len(shape) == 4 else 0

    def _keeps_channels(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is positively homogeneous and works on each channel alone."""
        if node.op_type != "Slice":
            return node.op_type in _HOMOGENEOUS
        axes = self._constants.get(node.input[3]) if len(node.input) > 3 else None
        return axes is not None and not {0, 1} & set(numpy_helper.to_array(axes) % 4)

    def _multiply(self, constant: str, axis: int, channels: slice, factor: Channels) -> None:
        tensor = self._constants[constant]
        values = np.moveaxis(numpy_helper.to_array(tensor).copy(), axis, -1)
        values[..., channels] *= factor
        tensor.CopyFrom(numpy_helper.from_array(np.moveaxis(values, -1, axis), constant))
