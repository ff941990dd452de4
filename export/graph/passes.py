"""ONNX of a network that is applied from coarse to fine: its coarser passes are optional."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.backends.base import INPUTS
from engine.backends.onnx_graphs import ITERATIONS
from training.networks.entry import Port

# The flow that a pass reads has 1/8 of the resolution of its images.
_STRIDE = 8
_COMPUTED = ".computed"


def handed_on(passes: int) -> tuple[Port, ...]:
    """Return the flows that passes hand on, that of the last but one (number 2) first."""
    strides = {number: _stride(number) for number in range(2, passes + 1)}
    return tuple(
        Port(_name(number), ("batch", "", f"height / {stride}", f"width / {stride}"))
        for number, stride in strides.items()
    )


def make_passes_optional(model: onnx.ModelProto, passes: int) -> None:
    """Put all passes but the last into a branch each, in place.

    A branch is taken if the initializer `ITERATIONS` is at least its number; the other one has no
    motion, as before the first pass. So the number of passes can be lowered when the model is
    loaded.

    Args:
        model: a graph with the tensors of `handed_on`.
        passes: their number.
    """
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(passes, np.int64), ITERATIONS))
    # An initializer that is an input, too, is a default: ONNX Runtime would otherwise choose the
    # branches before it knows another number.
    graph.input.append(helper.make_tensor_value_info(ITERATIONS, TensorProto.INT64, []))
    for number in reversed(range(2, passes + 1)):
        _make_optional(graph, number)
    onnx.checker.check_model(model, full_check=True)


def with_all_passes(model: onnx.ModelProto) -> None:
    """Undo `make_passes_optional`, in place: TensorRT fuses layers across passes."""
    nodes = []
    for value in [value for value in model.graph.input if value.name == ITERATIONS]:
        model.graph.input.remove(value)
    for node in model.graph.node:
        if node.op_type != "If":
            nodes.append(node)
            continue
        (branch,) = (item.g for item in node.attribute if item.name == "then_branch")
        _rename(branch.node, branch.output[0].name, node.output[0])
        nodes += branch.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _name(number: int) -> str:
    return f"flow_of_pass{number}"


def _stride(number: int) -> int:
    """Return the stride of the flow that the pass with this number, counted from 1, hands on."""
    return _STRIDE << (number - 2)


def _make_optional(graph: onnx.GraphProto, number: int) -> None:
    name = _name(number)
    needed, others = _ancestors(graph, [name]), _ancestors(graph, _other_ends(graph), but=name)
    moved = sorted(needed - others)
    branch = [graph.node[index] for index in moved]
    _rename(branch, name, name + _COMPUTED)
    chosen = helper.make_node("GreaterOrEqual", [ITERATIONS, f"{name}.least"], [f"{name}.wanted"])
    graph.initializer.append(numpy_helper.from_array(np.array(number, np.int64), f"{name}.least"))
    value = helper.make_tensor_value_info(
        name + _COMPUTED, TensorProto.FLOAT, [None, 2, None, None]
    )
    choice = helper.make_node(
        "If",
        [f"{name}.wanted"],
        [name],
        f"pass{number}",
        then_branch=helper.make_graph(branch, f"pass{number}", [], [value]),
        else_branch=_no_motion(number),
    )
    nodes = [node for index, node in enumerate(graph.node) if index not in set(moved)]
    place = moved[-1] + 1 - len(moved)
    nodes[place:place] = [chosen, choice]
    del graph.node[:]
    graph.node.extend(nodes)


def _other_ends(graph: onnx.GraphProto) -> Iterable[str]:
    """Yield the outputs, and what the branches read."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        if node.op_type == "If":
            yield from _inputs(node)


def _ancestors(graph: onnx.GraphProto, names: Iterable[str], but: str = "") -> set[int]:
    """Return the indices of the nodes that compute tensors, but not through ``but`` or an If."""
    producers = {
        output: index
        for index, node in enumerate(graph.node)
        if node.op_type != "If"
        for output in node.output
    }
    found: set[int] = set()
    waiting = list(names)
    while waiting:
        index = producers.get(name) if (name := waiting.pop()) != but else None
        if index is not None and index not in found:
            found.add(index)
            waiting += graph.node[index].input
    return found


def _inputs(node: onnx.NodeProto) -> list[str]:
    """Return what a node reads, in its branches, too."""
    names = list(node.input)
    for item in node.attribute:
        names += [name for inner in item.g.node for name in inner.input]
    return names


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for index, name in enumerate(node.output):
            if name == old:
                node.output[index] = new


def _no_motion(number: int) -> onnx.GraphProto:
    """Return a graph that computes zeros in the shape of the flow that a pass hands on."""
    constants = {"two": np.array([2], np.int64), "stride": np.array([_stride(number)] * 2)}
    prefix = f"{_name(number)}.none"
    nodes = [
        helper.make_node("Shape", [INPUTS[0]], [f"{prefix}.batch"], start=0, end=1),
        helper.make_node("Shape", [INPUTS[0]], [f"{prefix}.size"], start=1, end=3),
        helper.make_node("Div", [f"{prefix}.size", f"{prefix}.stride"], [f"{prefix}.cells"]),
        helper.make_node(
            "Concat",
            [f"{prefix}.batch", f"{prefix}.two", f"{prefix}.cells"],
            [f"{prefix}.shape"],
            axis=0,
        ),
        helper.make_node("ConstantOfShape", [f"{prefix}.shape"], [prefix]),
    ]
    return helper.make_graph(
        nodes,
        f"no_pass{number}",
        [],
        [helper.make_tensor_value_info(prefix, TensorProto.FLOAT, [None, 2, None, None])],
        [
            numpy_helper.from_array(np.asarray(value, np.int64), f"{prefix}.{name}")
            for name, value in constants.items()
        ],
    )
