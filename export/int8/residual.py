"""Residual quantisation: activations stored as int8 plus an int8 residual at 1/8 of the step.

Most of the error that int8 adds to FlowNetS comes from the decoder's activations: they grow with
the motion, and steps that cover large motion are too coarse for small motion. Keeping the consumers
of the finest two in float makes the whole network a quarter slower; an int8 residual a twentieth,
for the same error (flownets_slim in OpenVINO at 384x512, one-off measurement).
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.int8.layers import CONVOLUTIONS, layer_of
from training.int8.ranges import RESIDUAL_STEPS

_FINE = "fine_steps"


def write_residual_int8(
    model: onnx.ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, float],
    in_float: Collection[str],
) -> set[str]:
    """Concatenate the rounded outputs of layers and their rounding residuals, in place.

    The residual is multiplied by `RESIDUAL_STEPS` and the consumer's weights for it are divided by
    that. When the Concat is quantised, the rounded part is unchanged and the residual adds what
    rounding lost.

    Args:
        model: an fp32 graph of `export.graph.onnx_from_torch` or `export.int8.scaling`.
        layers: layers whose output gets a residual where it is concatenated and read in int8.
        ranges: by layer, of `QuantisationParameters`; for all layers but those in float.
        in_float: layers that stay in fp32.

    Returns:
        The names of the tensors that are rounded already.
    """
    outputs = _outputs(model)
    rounded: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        readers = list(_readers(model, node))
        rounding = [layer_of(reader) for reader in readers if layer_of(reader) not in in_float]
        fine = [name for name in node.input if outputs.get(name, ("", 0))[0] in layers]
        if node.op_type == "Concat" and rounding and fine:
            places = _places(node, outputs)
            scale = ranges[rounding[0]] / 127
            for name in fine:
                nodes += _split(model, name, scale)
                for reader in readers:
                    _append_weights(model, reader, places[name])
            inputs = [f"{name}.coarse" if name in fine else name for name in node.input]
            del node.input[:]
            node.input.extend([*inputs, *(f"{name}.fine" for name in fine)])
            rounded |= {f"{name}.coarse" for name in fine}
        nodes.append(node)
    if rounded:
        model.graph.initializer.append(
            numpy_helper.from_array(np.array(RESIDUAL_STEPS, np.float32), _FINE)
        )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return rounded


def _outputs(model: onnx.ModelProto) -> dict[str, tuple[str, int]]:
    """Return by tensor the layer that it is the output of (with LeakyReLU) and its channels."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, tuple[str, int]] = {}
    for node in model.graph.node:
        if node.op_type in CONVOLUTIONS:
            channels = weights[node.input[1]].dims[0 if node.op_type == "Conv" else 1]
            found[node.output[0]] = (layer_of(node), channels)
        elif node.op_type == "LeakyRelu" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _readers(model: onnx.ModelProto, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for other in model.graph.node:
        if other.op_type in CONVOLUTIONS and other.input[0] in node.output:
            yield other


def _places(concat: onnx.NodeProto, outputs: Mapping[str, tuple[str, int]]) -> dict[str, slice]:
    """Return by input of a Concat its channels in the output; all inputs are layers' outputs."""
    places, start = {}, 0
    for name in concat.input:
        stop = start + outputs[name][1]
        places[name] = slice(start, stop)
        start = stop
    return places


def _split(model: onnx.ModelProto, name: str, scale: float) -> list[onnx.NodeProto]:
    """Return nodes that compute the rounded tensor ``.coarse`` and the residual ``.fine``."""
    constants = [f"{name}.scale", f"{name}.zero"]
    for constant, value in zip(constants, (np.float32(scale), np.int8(0)), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), constant))
    steps = (
        ("QuantizeLinear", [name, *constants], "codes"),
        ("DequantizeLinear", [f"{name}.codes", *constants], "coarse"),
        ("Sub", [name, f"{name}.coarse"], "rest"),
        ("Mul", [f"{name}.rest", _FINE], "fine"),
    )
    return [
        helper.make_node(kind, inputs, [f"{name}.{output}"], name=f"{name}.{output}")
        for kind, inputs, output in steps
    ]


def _append_weights(model: onnx.ModelProto, reader: onnx.NodeProto, place: slice) -> None:
    """Append input channels to a convolution: the weights of ``place`` for the residual."""
    (tensor,) = (x for x in model.graph.initializer if x.name == reader.input[1])
    weights = numpy_helper.to_array(tensor)
    axis = 1 if reader.op_type == "Conv" else 0
    chosen = weights[:, place] if axis else weights[place]
    both = np.concatenate([weights, chosen / np.float32(RESIDUAL_STEPS)], axis)
    tensor.CopyFrom(numpy_helper.from_array(both, tensor.name))
