"""A second int8 digit for what one is too coarse for, written into the graph.

Most of what int8 adds to the error of FlowNetS comes from the maps that its decoder hands on: they
grow with the motion, and steps that reach its end are too coarse for what moves little. With the
layers in float that read the finest two of them, the whole network takes a quarter longer; with a
second digit, an eighth as large, a twentieth, and the error is as small (flownets_slim in OpenVINO
at 384x512, by hand).
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.int8.calibrate import CONVOLUTIONS, layer_of
from training.int8.ranges import FINE_STEPS

_FINE = "fine_steps"


def write_in_two_digits(
    model: onnx.ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, float],
    in_float: Collection[str],
) -> set[str]:
    """Let the output of layers enter Concats rounded, followed by what is left of it, in place.

    What is left is multiplied by `FINE_STEPS`, and the weights for it divided by that: when the
    Concat is quantised, the first part is what it was, and the second adds what was lost.

    Args:
        model: an fp32 graph of `export.graph.onnx_from_torch` or `export.int8.scaling`.
        layers: whose output to write so, where it is joined with others and read in int8.
        ranges: by layer, of an `Equalisation`; of all but those in float.
        in_float: layers that stay in fp32.

    Returns:
        The names of what is rounded here, and is to be read so.
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
                nodes += _parted(model, name, scale)
                for reader in readers:
                    _repeat_weights(model, reader, places[name])
            inputs = [f"{name}.coarse" if name in fine else name for name in node.input]
            del node.input[:]
            node.input.extend([*inputs, *(f"{name}.fine" for name in fine)])
            rounded |= {f"{name}.coarse" for name in fine}
        nodes.append(node)
    if rounded:
        model.graph.initializer.append(
            numpy_helper.from_array(np.array(FINE_STEPS, np.float32), _FINE)
        )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return rounded


def _outputs(model: onnx.ModelProto) -> dict[str, tuple[str, int]]:
    """By tensor, the layer whose output it is, behind its LeakyReLU or not, and its channels."""
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
    """As which channels of a Concat its inputs, all of them layers' outputs, come out."""
    places, start = {}, 0
    for name in concat.input:
        stop = start + outputs[name][1]
        places[name] = slice(start, stop)
        start = stop
    return places


def _parted(model: onnx.ModelProto, name: str, scale: float) -> list[onnx.NodeProto]:
    """Nodes that make ``.coarse`` and ``.fine`` of a tensor."""
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


def _repeat_weights(model: onnx.ModelProto, reader: onnx.NodeProto, place: slice) -> None:
    """Give a convolution weights for more channels, those of ``place`` once more but smaller."""
    (tensor,) = (x for x in model.graph.initializer if x.name == reader.input[1])
    weights = numpy_helper.to_array(tensor)
    axis = 1 if reader.op_type == "Conv" else 0
    chosen = weights[:, place] if axis else weights[place]
    both = np.concatenate([weights, chosen / np.float32(FINE_STEPS)], axis)
    tensor.CopyFrom(numpy_helper.from_array(both, tensor.name))
