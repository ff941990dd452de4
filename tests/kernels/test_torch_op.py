"""flow::correlation in PyTorch: values, gradients, compile, export, refusals."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings

from kernels import library
from kernels.arguments import CorrelationError
from tests.kernels.strategies import Problem, problem, problems

torch = pytest.importorskip("torch")

from kernels import torch_form, torch_op  # noqa: E402

# Half-precision inputs are exact in float32; the output is rounded once.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 2e-2,
}


class Match(torch.nn.Module):
    """What a network does with the operator."""

    def forward(self, f1: torch.Tensor, f2: torch.Tensor) -> torch.Tensor:
        out = torch.ops.flow.correlation(f1, f2, 4, 2)
        return torch.nn.functional.leaky_relu(out, 0.1)


def tensors(p: Problem, dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(dtype) for array in (p.f1, p.f2, p.grad)]


@given(p=problems())
@settings(max_examples=25, deadline=None)
def test_torch_form_matches_the_twin(p: Problem) -> None:
    f1, f2, grad = tensors(p, torch.float64)
    out = torch_form.correlation(f1, f2, p.max_displacement, p.stride_2)
    np.testing.assert_allclose(out, p.expected(), atol=1e-12)
    found = torch_form.gradients(grad, f1, f2, p.max_displacement, p.stride_2)
    for gradient, expected in zip(found, p.expected_gradients(), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-11)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_operator_matches_the_twin(dtype: torch.dtype) -> None:
    p = problem((2, 35, 11, 19), 20, 2)
    f1, f2, _ = tensors(p, dtype)
    rounded = Problem(f1.double().numpy(), f2.double().numpy(), p.grad, 20, 2)
    out = torch.ops.flow.correlation(f1, f2, 20, 2)
    assert out.dtype == dtype
    np.testing.assert_allclose(out.double(), rounded.expected(), atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_gradients_match_the_twin(dtype: torch.dtype) -> None:
    p = problem((2, 35, 11, 19), 20, 2)
    f1, f2, grad = tensors(p, dtype)
    rounded = Problem(*(x.double().numpy() for x in (f1, f2, grad)), 20, 2)
    found = torch.ops.flow.correlation_backward(grad, f1, f2, 20, 2)
    for gradient, expected in zip(found, rounded.expected_gradients(), strict=True):
        assert gradient.dtype == dtype
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient.double(), expected, atol=scale * TOLERANCE[dtype])


def test_strided_tensors_are_taken_as_they_are() -> None:
    p = problem((1, 6, 9, 14), 4, 2)
    f1, f2, _ = tensors(p, torch.float32)
    out = torch.ops.flow.correlation(
        f1.to(memory_format=torch.channels_last), f2.transpose(2, 3).contiguous().mT, 4, 2
    )
    np.testing.assert_allclose(out, p.expected(), atol=1e-5)


@pytest.mark.parametrize("stride_2", [1, 2])
def test_gradcheck(stride_2: int) -> None:
    shape = (2, 2, 3, 4)
    f1, f2 = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda a, b: torch.ops.flow.correlation(a, b, 2, stride_2), (f1, f2)
    )


def test_float32_gradients_match_the_twin() -> None:
    p = problem((2, 19, 7, 23), 6, 2)
    f1, f2, grad = tensors(p, torch.float32)
    f1.requires_grad_()
    f2.requires_grad_()
    torch.ops.flow.correlation(f1, f2, 6, 2).backward(grad)
    for found, expected in zip((f1.grad, f2.grad), p.expected_gradients(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_operator_is_well_formed() -> None:
    p = problem((1, 3, 5, 7), 2, 1)
    f1, f2, _ = tensors(p, torch.float32)
    arguments = (f1.requires_grad_(), f2.requires_grad_(), 2, 1)
    torch.library.opcheck(torch_op.correlation, arguments)


def test_compiles_as_one_graph() -> None:
    f1, f2 = torch.randn(2, 1, 8, 6, 10)
    compiled = torch.compile(Match(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(f1, f2), Match()(f1, f2))


def test_exports_with_dynamic_sizes() -> None:
    f1, f2 = torch.randn(2, 2, 8, 6, 10)
    sizes = {axis: torch.export.Dim(name) for axis, name in ((0, "n"), (2, "h"), (3, "w"))}
    program = torch.export.export(Match(), (f1, f2), dynamic_shapes=(sizes, sizes))
    targets = [str(node.target) for node in program.graph.nodes]
    assert "flow.correlation.default" in targets
    other1, other2 = torch.randn(2, 3, 8, 9, 7)
    torch.testing.assert_close(program.module()(other1, other2), Match()(other1, other2))


@pytest.mark.parametrize(
    ("f1", "f2", "parameters", "text"),
    [
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 4, 5), (4, 2), "number of channels differs"),
        (torch.zeros(3, 4, 5), torch.zeros(3, 4, 5), (4, 2), "f1 has rank 3"),
        (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), (3, 2), "not a multiple of stride_2"),
        (
            torch.zeros(1, 3, 4, 5),
            torch.zeros(1, 3, 4, 5).half(),
            (4, 2),
            "f1 is torch.float32 and f2 is torch.float16",
        ),
        (
            torch.zeros(1, 3, 4, 5).int(),
            torch.zeros(1, 3, 4, 5).int(),
            (4, 2),
            "expected one floating type",
        ),
        (
            torch.zeros(1, 3, 4, 5),
            torch.zeros(1, 3, 4, 5, device="meta"),
            (4, 2),
            "f1 is on cpu and f2 on meta",
        ),
    ],
)
def test_refuses_by_name(
    f1: torch.Tensor, f2: torch.Tensor, parameters: tuple[int, int], text: str
) -> None:
    with pytest.raises(CorrelationError, match=text):
        torch.ops.flow.correlation(f1, f2, *parameters)


def test_a_missing_library_is_said_once(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    p = problem((1, 3, 4, 5), 2, 1)
    f1, f2, _ = tensors(p, torch.float32)
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    for cached in (library.load, torch_op._has_kernel):
        cached.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "kernels"):
            for _ in range(2):
                out = torch.ops.flow.correlation(f1, f2, 2, 1)
        assert [record.getMessage()[:32] for record in caplog.records] == [
            "no correlation library for cpu i"
        ]
        np.testing.assert_allclose(out, p.expected(), atol=1e-5)
    finally:
        for cached in (library.load, torch_op._has_kernel):
            cached.cache_clear()
