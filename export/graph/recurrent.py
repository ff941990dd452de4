"""ONNX of a recurrent network from its parts: with a Loop, or with its updates in a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.backends.onnx_graphs import ITERATIONS

_ALWAYS = "always"


@dataclass(frozen=True)
class OnnxParts:
    """The parts of a recurrent network, each a checked model.

    Attributes:
        start: images or features in; the initial state and what all updates read out.
        update: state and what ``start`` returned in, the next state out.
        finish: state in, flow out.
        state: names of the state's tensors, in the order of ``update``'s outputs.
        initial: names of the tensors that the state starts as, in the same order: outputs of
            ``start``, or inputs of the whole graph.
        last: names of the last state's tensors, in the same order.
    """

    start: onnx.ModelProto
    update: onnx.ModelProto
    finish: onnx.ModelProto
    state: Sequence[str]
    initial: Sequence[str]
    last: Sequence[str]


def looped(parts: OnnxParts, iterations: int) -> onnx.ModelProto:
    """Return the network with its updates as a Loop, of as many turns as `ITERATIONS` says.

    The body reads what all updates share from the graph around it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(parts.start)
    del model.graph.output[:]
    _add_inputs(model.graph, parts)
    turns = numpy_helper.from_array(np.array(iterations, np.int64), ITERATIONS)
    model.graph.initializer.extend((turns, numpy_helper.from_array(np.array(True), _ALWAYS)))
    body = _body(parts)
    inputs = [ITERATIONS, _ALWAYS, *parts.initial]
    model.graph.node.append(helper.make_node("Loop", inputs, parts.last, "updates", body=body))
    names = dict(zip(parts.state, parts.last, strict=True))
    names |= {value.name: value.name for value in parts.finish.graph.output}
    finish = renamed(parts.finish.graph, "finish_", names)
    model.graph.node.extend(finish.node)
    model.graph.initializer.extend(finish.initializer)
    model.graph.output.extend(finish.output)
    onnx.checker.check_model(model, full_check=True)
    return model


def unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the updates of its Loop in a row, which share their weights.

    A model without a Loop is returned as it is.
    """
    if len(graphs_of(model)) == 1:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    body: onnx.GraphProto = helper.get_attribute_value(loop.attribute[0])
    values = {tensor.name: tensor for tensor in graph.initializer}
    iterations = int(numpy_helper.to_array(values[ITERATIONS]))
    own = {name for node in body.node for name in node.output}
    own |= {value.name for value in body.input}
    shared = {name: name for node in body.node for name in node.input if name not in own}
    nodes, state = [], list(loop.input[2:])
    for index in range(iterations):
        names = dict(zip((value.name for value in body.input[2:]), state, strict=True))
        # The condition, which is always true.
        names |= {body.input[1].name: _ALWAYS, body.input[0].name: ITERATIONS}
        update = renamed(body, f"{index}_", shared | names)
        nodes += update.node
        state = [value.name for value in update.output[1:]]
    nodes += [
        helper.make_node("Identity", [last], [name], f"last_{name}")
        for last, name in zip(state, loop.output, strict=True)
    ]
    before = list(graph.node)[: list(graph.node).index(loop)]
    after = list(graph.node)[len(before) + 1 :]
    del graph.node[:]
    graph.node.extend((*before, *nodes, *after))
    graph.initializer.extend(body.initializer)
    return result


def graphs_of(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """Return a model's graph, and the bodies of its Loops."""
    bodies = [
        helper.get_attribute_value(item)
        for node in model.graph.node
        if node.op_type == "Loop"
        for item in node.attribute
    ]
    return [model.graph, *bodies]


def renamed(graph: onnx.GraphProto, prefix: str, names: Mapping[str, str]) -> onnx.GraphProto:
    """Return a copy of a graph whose tensors have the given names, or else a prefix.

    Those of its subgraphs, too: they read tensors of the graph around them by their names.
    """
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    _rename(copy, prefix, names)
    return copy


def _rename(graph: onnx.GraphProto, prefix: str, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, prefix + value.name)
    for node in graph.node:
        node.name = node.name and prefix + node.name  # two may not have the prefix alone
        for tensors in (node.input, node.output):
            for place, name in enumerate(tensors):
                if name:  # an input that is left out has an empty name
                    tensors[place] = names.get(name, prefix + name)
        for item in node.attribute:
            for subgraph in (item.g, *item.graphs):
                _rename(subgraph, prefix, names)


def _add_inputs(graph: onnx.GraphProto, parts: OnnxParts) -> None:
    """Make those initial values inputs that ``start`` does not compute."""
    outputs = {value.name for value in parts.start.graph.output}
    states = {value.name: value for value in parts.update.graph.input}
    for state, initial in zip(parts.state, parts.initial, strict=True):
        if initial not in outputs:
            value = graph.input.add()
            value.CopyFrom(states[state])
            value.name = initial


def _body(parts: OnnxParts) -> onnx.GraphProto:
    inputs = [value.name for value in parts.update.graph.input]
    shared = {name: name for name in inputs if name not in parts.state}
    update = renamed(parts.update.graph, "update_", shared)
    return helper.make_graph(
        [helper.make_node("Identity", ["continue"], ["continues"], "continues"), *update.node],
        "update",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("continue", TensorProto.BOOL, []),
            *(value for value in update.input if value.name not in shared),
        ],
        [helper.make_tensor_value_info("continues", TensorProto.BOOL, []), *update.output],
        list(update.initializer),
    )
