"""Decomposition of an exported program, operator by operator.

``ExportedProgram.run_decompositions`` traces the whole program twice with symbolic sizes. That
takes longer than the export itself, and most operators come out unchanged.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import fx, nn
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

_REGIONS = (
    torch.ops.higher_order.wrap_with_autocast,
    torch.ops.higher_order.wrap_with_set_grad_enabled,
)

DecompositionTable = Mapping[Any, Callable[..., Any]]


def decompose(program: ExportedProgram, table: DecompositionTable) -> ExportedProgram:
    """Do what ``program.run_decompositions(table)`` does, in place.

    Each operator that has to be decomposed is traced alone. Regions, such as that of a
    ``torch.autocast``, are inlined. PyTorch decomposes programs that change a tensor in place.
    """
    module, graph = program.graph_module, program.graph
    if any(map(_changes_in_place, module.modules())):
        return ExportedProgram.run_decompositions(program, dict(table))
    _inline_regions(module)
    fake_mode = graph.find_nodes(op="placeholder")[-1].meta["val"].fake_mode
    for node in list(graph.nodes):
        if node.target in table or _may_alias(node.target):
            with fake_mode:
                _replace(node, *_traced(node, table))
    graph.eliminate_dead_code()
    module.recompile()
    outputs = graph.output_node().args[0]
    for spec, output in zip(program.graph_signature.output_specs, outputs, strict=True):
        spec.arg.name = output.name
    return program


def _changes_in_place(module: nn.Module) -> bool:
    nodes = module.graph.nodes if isinstance(module, fx.GraphModule) else ()
    return any(isinstance(n.target, OpOverload) and n.target._schema.is_mutable for n in nodes)


def _may_alias(target: Any) -> bool:
    """Whether ``target`` is a composite operator that may return a view, such as ``reshape``."""
    return (
        isinstance(target, OpOverload)
        and target.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd)
        and any(value.alias_info for value in target._schema.returns)
    )


def _inline_regions(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.target in _REGIONS:
            function = next(x for x in node.all_input_nodes if x.op == "get_attr")
            region = cast(fx.GraphModule, module.get_submodule(str(function.target)))
            _inline_regions(region)
            _replace(node, region.graph, node.args[node.args.index(function) + 1 :])
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()


def _traced(node: fx.Node, table: DecompositionTable) -> tuple[fx.Graph, list[Any]]:
    """Return the graph of an operator's decomposition and its inputs."""
    operator: Any = node.target
    leaves, spec = tree_flatten((node.args, dict(node.kwargs)))
    inputs = list(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, fx.Node)))

    def call(*values: Any) -> Any:
        known = dict(zip(inputs, values, strict=True))
        args, kwargs = tree_unflatten([known.get(leaf, leaf) for leaf in leaves], spec)
        return operator(*args, **kwargs)

    traced = make_fx(call, decomposition_table=dict(table))(*(x.meta["val"] for x in inputs))
    return traced.graph, inputs


def _replace(node: fx.Node, graph: fx.Graph, inputs: Sequence[Any]) -> None:
    """Put a copy of ``graph`` in the place of ``node``."""
    placeholders = graph.find_nodes(op="placeholder")
    with node.graph.inserting_before(node):
        result: Any = node.graph.graph_copy(graph, dict(zip(placeholders, inputs, strict=True)))
    if isinstance(result, fx.Node):
        node.replace_all_uses_with(result)
    else:
        for user in node.users:  # each takes one output
            user.replace_all_uses_with(result[cast(int, user.args[1])])
