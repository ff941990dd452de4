"""ONNX of a recurrent network from its parts: with a Loop, or with its updates in a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The initializer that holds the number of updates of a Loop.
ITERATIONS = "iterations"
_ALWAYS = "always"


@dataclass(frozen=True)
class Parts:
    """The parts of a recurrent network, each a checked model.

    Attributes:
        start: images or features in; the initial state and what all updates read out.
        update: state and what ``start`` returned in, the next state out.
        finish: state in, flow out.
        state: names of the state's tensors, in the order of ``update``'s outputs.
        initial: names of the tensors that the state starts as, in the same order: outputs of
            ``start``, or inputs of the whole graph.
    """

    start: onnx.ModelProto
    update: onnx.ModelProto
    finish: onnx.ModelProto
    state: Sequence[str]
    initial: Sequence[str]


def looped(parts: Parts, iterations: int) -> onnx.ModelProto:
    """Return the network with its updates as a Loop; `ITERATIONS` is an initializer.

    The body reads what all updates share from the graph around it.
    """
    model = _without_outputs(parts)
    trips = numpy_helper.from_array(np.array(iterations, np.int64), ITERATIONS)
    model.graph.initializer.extend((trips, numpy_helper.from_array(np.array(True), _ALWAYS)))
    update = _renamed(parts.update.graph, "update_", {name: name for name in _shared(parts)})
    state = [value for value in update.input if value.name not in _shared(parts)]
    body = helper.make_graph(
        [helper.make_node("Identity", ["continue"], ["continues"]), *update.node],
        "update",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("continue", TensorProto.BOOL, []),
            *state,
        ],
        [helper.make_tensor_value_info("continues", TensorProto.BOOL, []), *update.output],
        list(update.initializer),
    )
    last = [f"last_{name}" for name in parts.state]
    inputs = [ITERATIONS, _ALWAYS, *parts.initial]
    model.graph.node.append(helper.make_node("Loop", inputs, last, "updates", body=body))
    return _finished(model, parts, last)


def unrolled(parts: Parts, iterations: int) -> onnx.ModelProto:
    """Return the network with its updates in a row, which share their weights."""
    model = _without_outputs(parts)
    weights = {tensor.name: f"update_{tensor.name}" for tensor in parts.update.graph.initializer}
    kept = weights | {name: name for name in _shared(parts)}
    state = list(parts.initial)
    for index in range(iterations):
        names = kept | dict(zip(parts.state, state, strict=True))
        update = _renamed(parts.update.graph, f"update{index}_", names)
        model.graph.node.extend(update.node)
        if index == 0:
            model.graph.initializer.extend(update.initializer)
        state = [output.name for output in update.output]
    return _finished(model, parts, state)


def _without_outputs(parts: Parts) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(parts.start)
    del model.graph.output[:]
    known = {value.name for value in (*parts.start.graph.input, *parts.start.graph.output)}
    types = dict(zip(parts.state, parts.update.graph.input, strict=False))
    for name, initial in zip(parts.state, parts.initial, strict=True):
        if initial not in known:
            value = model.graph.input.add()
            value.CopyFrom(types[name])
            value.name = initial
    return model


def _shared(parts: Parts) -> list[str]:
    return [value.name for value in parts.update.graph.input if value.name not in parts.state]


def _finished(model: onnx.ModelProto, parts: Parts, state: Sequence[str]) -> onnx.ModelProto:
    names = dict(zip(parts.state, state, strict=True))
    names |= {value.name: value.name for value in parts.finish.graph.output}
    finish = _renamed(parts.finish.graph, "finish_", names)
    model.graph.node.extend(finish.node)
    model.graph.initializer.extend(finish.initializer)
    model.graph.output.extend(finish.output)
    onnx.checker.check_model(model, full_check=True)
    return model


def _renamed(graph: onnx.GraphProto, prefix: str, names: Mapping[str, str]) -> onnx.GraphProto:
    """Return a copy of a graph whose tensors have the given names, or else a prefix."""
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    for value in (*copy.input, *copy.output, *copy.initializer):
        value.name = names.get(value.name, prefix + value.name)
    for node in copy.node:
        node.name = prefix + node.name
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                if name:  # an input that is left out has an empty name
                    tensors[index] = names.get(name, prefix + name)
    return copy
