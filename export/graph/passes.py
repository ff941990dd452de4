"""ONNX of a network that is applied from coarse to fine: its coarser passes are optional."""

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.backends.base import INPUTS
from engine.backends.onnx_graphs import ITERATIONS

# The flow that the last pass reads has 1/8 of the resolution of its images, which have half the
# size.
_STRIDE = 16
_COMPUTED = ".computed"


def add_coarser_passes(model: onnx.ModelProto, coarser: onnx.ModelProto, passes: int) -> None:
    """Add the other passes to a graph of the last one, in place.

    Args:
        model: the last pass. It reads ``flow_of_pass2``, the flow that the pass with that number,
            counted from 1, the last pass, hands on; it also returns ``images_halved3``, the pair at
            1/8 of the size, which the pass before reads, and so on.
        coarser: any other pass: ``halved``, the pair at half its size, and ``so_far`` in,
            ``handed_on`` out.
        passes: their number with the last one.
    """
    graph = model.graph
    del graph.output[1:]
    del graph.input[len(INPUTS) :]
    for number in range(2, passes + 1):
        names = {
            "halved": images_halved(number + 1),
            "so_far": flow_of_pass(number + 1),
            "handed_on": flow_of_pass(number),
        }
        _append(graph, coarser.graph, names, prefix=f"pass{number}.")
    first = passes + 1
    _append(graph, _no_motion(first), {_none(first): flow_of_pass(first)}, prefix="")
    _sort(graph)
    onnx.checker.check_model(model, full_check=True)


def flow_of_pass(number: int) -> str:
    """Return the name of the flow that the pass with this number hands on."""
    return f"flow_of_pass{number}"


def images_halved(times: int) -> str:
    """Return the name of the pair, so often halved."""
    return f"images_halved{times}"


def make_passes_optional(model: onnx.ModelProto, passes: int) -> None:
    """Put all passes but the last into a branch each, in place.

    A branch is taken if the initializer `ITERATIONS` is at least its number; the other one has no
    motion, as before the first pass. So the number of passes can be lowered when the model is
    loaded.

    Args:
        model: a graph of `add_coarser_passes`.
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


def _append(
    graph: onnx.GraphProto, other: onnx.GraphProto, names: Mapping[str, str], *, prefix: str
) -> None:
    """Append another graph's nodes, and those of its constants that the graph does not have.

    Args:
        graph: the graph to append to.
        other: without subgraphs.
        names: of its inputs and outputs in the graph.
        prefix: of all other names in it.
    """
    own = {_content(constant): constant.name for constant in graph.initializer}
    taken = dict(names)
    for constant in other.initializer:
        taken[constant.name] = own.get(_content(constant), prefix + constant.name)
        if taken[constant.name] == prefix + constant.name:
            graph.initializer.add().CopyFrom(constant)
            graph.initializer[-1].name = prefix + constant.name
    for node in other.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = node.name and prefix + node.name
        for values in (copy.input, copy.output):
            values[:] = [taken.get(name, prefix + name) if name else name for name in values]


def _content(constant: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    values = numpy_helper.to_array(constant)
    return constant.data_type, tuple(constant.dims), values.tobytes()


def _sort(graph: onnx.GraphProto) -> None:
    """Put each node behind those whose outputs it reads, as ONNX demands."""
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    needs = {
        index: [producers[name] for name in node.input if name in producers]
        for index, node in enumerate(graph.node)
    }
    ordered = [graph.node[index] for index in TopologicalSorter(needs).static_order()]
    del graph.node[:]
    graph.node.extend(ordered)


def _none(number: int) -> str:
    return f"{flow_of_pass(number)}.none"


def _stride(number: int) -> int:
    """Return the stride of the flow that the pass with this number hands on."""
    return _STRIDE << (number - 2)


def _make_optional(graph: onnx.GraphProto, number: int) -> None:
    name = flow_of_pass(number)
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
    prefix = _none(number)
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
