"""The CUDA library on a GPU, every variant and type, against the twin."""

import numpy as np
import pytest

from kernels import library
from tests.kernels.strategies import Problem, problem

torch = pytest.importorskip("torch")

import kernels.torch_op  # noqa: E402, F401  registers flow::correlation

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_library")]

# Of the rounded result, relative to 1: half a unit in the last place, and the order of summation.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
HALVES = (torch.float16, torch.bfloat16)

# (N, C, H, W), max_displacement, stride_2: ragged and whole vectors, channels off the chunk, sizes
# smaller than the displacements, several blocks of columns.
CASES = [
    ((1, 256, 48, 64), 20, 2),
    ((2, 33, 13, 37), 20, 2),
    ((1, 70, 6, 72), 4, 2),
    ((3, 7, 3, 130), 16, 2),
    ((1, 40, 5, 70), 4, 1),
    ((2, 9, 17, 24), 20, 1),
    ((1, 1, 1, 1), 2, 1),
]


def rounded(p: Problem, dtype: torch.dtype) -> tuple[Problem, list[torch.Tensor]]:
    """The problem with inputs that ``dtype`` holds exactly, and the inputs on the GPU."""
    tensors = [torch.from_numpy(a).to("cuda", dtype) for a in (p.f1, p.f2, p.grad)]
    arrays = [t.double().cpu().numpy() for t in tensors]
    return Problem(*arrays, p.max_displacement, p.stride_2), tensors


def forward(p: Problem, f1: torch.Tensor, f2: torch.Tensor, variant: str) -> torch.Tensor:
    out = torch.full(p.grad.shape, torch.nan, dtype=f1.dtype, device="cuda")
    arguments = library.arguments(
        p.f1.shape, **p.parameters, dtype=str(f1.dtype).removeprefix("torch."), variant=variant
    )
    stream = torch.cuda.current_stream().cuda_stream
    library.forward("cuda", arguments, f1.data_ptr(), f2.data_ptr(), out.data_ptr(), stream=stream)
    return out


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("variant", ["auto", "cuda-plain", "cuda-tensor-cores"])
def test_forward_matches_the_twin(
    variant: str, dtype: torch.dtype, case: tuple[tuple[int, int, int, int], int, int]
) -> None:
    p, (f1, f2, _) = rounded(problem(*case), dtype)
    if variant == "cuda-tensor-cores" and dtype not in HALVES:
        with pytest.raises(library.VariantError):
            forward(p, f1, f2, variant)
        return
    if variant == "cuda-tensor-cores" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("tensor-core path needs sm_80")
    out = forward(p, f1, f2, variant).double().cpu().numpy()
    np.testing.assert_allclose(out, p.expected(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_classic_matches_the_twin(dtype: torch.dtype) -> None:
    p, (f1, f2, _) = rounded(problem((2, 45, 9, 14), 6, 2), dtype)
    last1, last2 = (f.permute(0, 2, 3, 1).contiguous() for f in (f1, f2))
    out = forward(p, last1, last2, "cuda-classic").double().cpu().numpy()
    np.testing.assert_allclose(out, p.expected(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_tensor_off_16_bytes(dtype: torch.dtype) -> None:
    p, (f1, f2, _) = rounded(problem((1, 24, 6, 64), 20, 2), dtype)
    memory = torch.empty(f1.numel() + 1, dtype=dtype, device="cuda")
    shifted = memory[1:].view(f1.shape).copy_(f1)
    out = forward(p, shifted, f2, "cuda-tensor-cores").double().cpu().numpy()
    np.testing.assert_allclose(out, p.expected(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_gradients_match_the_twin(
    dtype: torch.dtype, case: tuple[tuple[int, int, int, int], int, int]
) -> None:
    p, (f1, f2, grad) = rounded(problem(*case), dtype)
    f1.requires_grad_()
    f2.requires_grad_()
    torch.ops.flow.correlation(f1, f2, p.max_displacement, p.stride_2).backward(grad)
    for found, expected in zip((f1.grad, f2.grad), p.expected_gradients(), strict=True):
        np.testing.assert_allclose(
            found.double().cpu().numpy(), expected, rtol=TOLERANCE[dtype], atol=4 * TOLERANCE[dtype]
        )


def test_runs_on_the_current_stream() -> None:
    p, (f1, f2, _) = rounded(problem((1, 64, 24, 32), 20, 2), torch.float16)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Long work ahead of the kernel on this stream: on another it would read unwritten memory.
        late = torch.zeros_like(f1)
        for _ in range(50):
            torch.ones(4096, 4096, device="cuda").mm(torch.ones(4096, 4096, device="cuda"))
        late.copy_(f1)
        out = torch.ops.flow.correlation(late, f2, 20, 2)
    stream.synchronize()
    np.testing.assert_allclose(out.double().cpu(), p.expected(), rtol=1e-3, atol=1e-3)


def test_captures_into_a_cuda_graph() -> None:
    p, (f1, f2, _) = rounded(problem((1, 64, 24, 32), 20, 2), torch.float16)
    torch.ops.flow.correlation(f1, f2, 20, 2)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = torch.ops.flow.correlation(f1, f2, 20, 2)
    graph.replay()
    torch.cuda.synchronize()
    np.testing.assert_allclose(out.double().cpu(), p.expected(), rtol=1e-3, atol=1e-3)


def test_tensors_on_different_devices_are_refused() -> None:
    f = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="f1 is on cuda:0 and f2 on cpu; expected one device"):
        torch.ops.flow.correlation(f.cuda(), f, 4, 2)


def test_too_wide_a_displacement_is_refused() -> None:
    f = torch.zeros(1, 2, 3, 4, device="cuda", requires_grad=True)
    out = torch.ops.flow.correlation(f, f, 200, 2)
    with pytest.raises(library.KernelError, match="too large"):
        out.sum().backward()
