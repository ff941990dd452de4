"""PyTorch's own ``run_decompositions`` and the network itself are what `decompose` has to equal."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.export import Dim, ExportedProgram, export

from export.graph.decompose import decompose

aten = torch.ops.aten


class Composite(nn.Module):
    """Operators of every kind: composite, of several outputs, in regions, without a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 4, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", enabled=False):
            first, second = x.double().float().chunk(2, dim=1)
            with torch.autocast("cpu", enabled=False):
                joined = torch.cat((F.hardswish(second), first @ torch.eye(first.shape[3])), dim=1)
        up = self.up(joined)
        return up.unflatten(1, (2, -1)).reshape(up.shape[0], -1), first.to(torch.float32)


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1).relu_().flatten(1)


def exported(module: nn.Module, x: Tensor) -> ExportedProgram:
    sizes = {0: Dim("batch"), 2: 2 * Dim("height")}
    return export(module, (x,), dynamic_shapes=(sizes,))


def table() -> dict:
    return {
        operator: function
        for operator, function in torch.export.default_decompositions().items()
        if operator not in (aten.conv2d.default, aten.matmul.default)
    }


@pytest.mark.parametrize("module", [Composite(), InPlace()], ids=["composite", "in place"])
def test_results_stay_equal_at_any_size(module: nn.Module) -> None:
    with torch.no_grad():
        program = decompose(exported(module, torch.randn(2, 4, 6, 8)), table())
        for x in (torch.randn(3, 4, 10, 8), torch.randn(2, 4, 6, 8)):
            torch.testing.assert_close(program.module()(x), module(x), rtol=0, atol=0)


def test_operators_are_those_of_pytorchs_decomposition() -> None:
    x = torch.randn(2, 4, 6, 8)
    ours = decompose(exported(Composite(), x), table())
    pytorchs = exported(Composite(), x).run_decompositions(table())

    def operators(program: ExportedProgram) -> list[str]:
        aside = ("aten.sym_size", "aten._assert", "aten.alias", "aten.clone")
        names = (str(n.target) for n in program.graph.nodes if n.op == "call_function")
        return sorted(x for x in names if x.startswith("aten.") and not x.startswith(aside))

    assert operators(ours) == operators(pytorchs)
    assert not any(isinstance(n.target, HigherOrderOperator) for n in ours.graph.nodes)
    assert [n for n, _ in ours.graph_module.named_children()] == []
