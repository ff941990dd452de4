"""Maps that are joined brought to like magnitudes, because int8 has one scale for all of them.

A decoder joins what the encoder saw, of magnitude 3, with what came from below, of 15 and growing
with the motion. A scale that holds the latter leaves few steps for the former, and one that does
not makes large motion small. So the weights of a layer in front of a Concat are divided by a factor
per channel, and those behind it multiplied by it, which changes no result: a LeakyReLU passes a
positive factor on (Nagel et al., arXiv 1906.04721).
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from export.calibration import CONVOLUTIONS, Channels, Observed, layer_of
from training.quantisation import HEADROOM

_PASS_FACTORS_ON = ("LeakyRelu", "Relu")


@dataclass(frozen=True)
class Equalisation:
    """What to change.

    Attributes:
        factors: by layer, what to divide the channels of its output by.
        ranges: by layer that reads what is joined, the magnitude of its input that int8's 127 is
            to stand for after that.
    """

    factors: dict[str, Channels]
    ranges: dict[str, float]


def equalisation(
    models: Mapping[str, onnx.ModelProto],
    observed: Mapping[str, Observed],
    layers: Collection[str],
) -> Equalisation:
    """Choose factors: the square root of a channel's magnitude, relative to that of what stays.

    That is half-way between sparing small values from coarse steps and large ones from being
    clipped, as in SmoothQuant (arXiv 2211.10438).

    Args:
        models: a bundle's graphs, whole or in two.
        observed: what `export.calibration.calibrate` saw in them.
        layers: that read a join which grows with the motion, `FlowNetwork.joined_layers`.
    """
    factors: dict[str, Channels] = {}
    ranges: dict[str, float] = {}
    for joint in (joint for model in models.values() for joint in _Graph(model).joints()):
        readers = [reader.name for reader in joint.readers]
        if not set(readers) <= set(layers):
            continue
        largest = observed[readers[0]].largest.copy()
        stays = np.ones(len(largest), bool)
        for part in joint.parts:
            stays[part.channels] = False
        usual = np.median(largest[stays]) if stays.any() else 0.0
        for part in joint.parts:
            relative = largest[part.channels] / (usual or 1.0)
            # A channel that never was anything gets no factor.
            factor = np.sqrt(np.where(relative > 0, relative, 1), dtype=np.float32)
            largest[part.channels] /= factor
            factors[part.layer.name] = factor
        ranges |= dict.fromkeys(readers, HEADROOM * float(largest.max()) or 1.0)
    return Equalisation(factors, ranges)


def equalised(model: onnx.ModelProto, factors: Mapping[str, Channels]) -> onnx.ModelProto:
    """Divide layers' outputs by factors, and multiply where they are read: the same flow.

    Args:
        model: an fp32 graph of `export.onnx_from_torch`; left as it is.
        factors: of `equalisation`; the graph need not have all of the layers.

    Raises:
        ValueError: it has one, but not where its output can be multiplied again.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = _Graph(result)
    left = factors.keys() & graph.layers
    for joint in graph.joints():
        for part in joint.parts:
            if part.layer.name not in left:
                continue
            left.remove(part.layer.name)
            factor = factors[part.layer.name]
            graph.divide_outputs(part.layer, factor)
            for reader in joint.readers:
                graph.multiply_inputs(reader, part.channels, factor)
    if left:  # the ranges would be wrong
        raise ValueError(f"in this graph {', '.join(sorted(left))} cannot be equalised")
    return result


class _Layer:
    """A convolution of a graph."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.name = layer_of(node)
        _, self.weight, *self.bias = node.input
        # ONNX: (out, in, H, W) of a Conv, (in, out, H, W) of a ConvTranspose.
        self.output_axis = 0 if node.op_type == "Conv" else 1
        self.input_axis = 1 - self.output_axis


@dataclass(frozen=True)
class _Part:
    """Channels of a Concat that come from a layer whose output nothing else reads."""

    layer: _Layer
    channels: slice


@dataclass(frozen=True)
class _Joint:
    """A Concat of channels that only convolutions read, and those of its parts that may change."""

    parts: list[_Part]
    readers: list[_Layer]


class _Graph:
    """A graph with what it takes to find its joints and to change the weights around them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = model.graph.node
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._uses = Counter(name for node in self._nodes for name in node.input)
        self._uses.update(output.name for output in model.graph.output)
        self._inferred = {
            value.name: value.type.tensor_type.shape.dim
            for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        }

    @property
    def layers(self) -> set[str]:
        return {layer_of(node) for node in self._nodes if node.op_type in CONVOLUTIONS}

    def joints(self) -> Iterator[_Joint]:
        """In the order of the nodes."""
        for node in self._nodes:
            if node.op_type != "Concat" or node.attribute[0].i != 1:
                continue
            readers = [_Layer(other) for other in self._nodes if self._reads(other, node.output[0])]
            own = all(self._uses[reader.weight] == 1 for reader in readers)
            if not readers or not own or len(readers) < self._uses[node.output[0]]:
                continue
            counts = [self._channels(name) for name in node.input]
            if all(counts):
                yield _Joint(list(self._parts(node, counts)), readers)

    def divide_outputs(self, layer: _Layer, factor: Channels) -> None:
        for constant, axis in ((layer.weight, layer.output_axis), *((x, 0) for x in layer.bias)):
            self._multiply(constant, axis, slice(None), np.reciprocal(factor))

    def multiply_inputs(self, layer: _Layer, channels: slice, factor: Channels) -> None:
        self._multiply(layer.weight, layer.input_axis, channels, factor)

    def _reads(self, node: onnx.NodeProto, tensor: str) -> bool:
        return node.op_type in CONVOLUTIONS and node.input[0] == tensor

    def _channels(self, tensor: str) -> int:
        """How many a tensor has; 0: not known."""
        node = self._producers.get(tensor)
        if node is not None and node.op_type in _PASS_FACTORS_ON:
            return self._channels(node.input[0])
        if node is not None and node.op_type in CONVOLUTIONS:
            layer = _Layer(node)
            return int(self._constants[layer.weight].dims[layer.output_axis])
        # Nothing is inferred behind an operator of our own, which TensorRT's graphs may have.
        shape = self._inferred.get(tensor, ())
        return int(shape[1].dim_value) if len(shape) == 4 else 0

    def _parts(self, joint: onnx.NodeProto, counts: Sequence[int]) -> Iterator[_Part]:
        start = 0
        for name, count in zip(joint.input, counts, strict=True):
            layer = self._layer_of_its_own(name)
            if layer is not None:
                yield _Part(layer, slice(start, start + count))
            start += count

    def _layer_of_its_own(self, tensor: str) -> _Layer | None:
        """The layer in front of a tensor, where its output and weights are nobody else's."""
        if self._uses[tensor] > 1 or tensor not in self._producers:
            return None
        node = self._producers[tensor]
        if node.op_type in _PASS_FACTORS_ON:
            return self._layer_of_its_own(node.input[0])
        if node.op_type not in CONVOLUTIONS or any(self._uses[x] > 1 for x in node.input[1:]):
            return None
        return _Layer(node)

    def _multiply(self, constant: str, axis: int, channels: slice, factor: Channels) -> None:
        tensor = self._constants[constant]
        values = np.moveaxis(numpy_helper.to_array(tensor).copy(), axis, -1)
        values[..., channels] *= factor
        tensor.CopyFrom(numpy_helper.from_array(np.moveaxis(values, -1, axis), constant))
