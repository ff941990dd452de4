"""Every home of the correlation, opened on one problem; of this bench only this file reaches torch.

What is timed is the operator alone: inputs are in the home's own layout and memory before, and the
result is left where the home puts it. The compiled libraries write into one array again and again;
the others allocate each result, as their users do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bench.correlation.onnx import in_onnxruntime, in_openvino
from bench.correlation.problem import Problem, largest_error
from bench.harness.stats import timed_ms
from engine.errors import BackendNotInstalledError
from kernels import library, torch_form

TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
PEER, CLASSIC = "shift and multiply, PyTorch", "CUDA library, classic"
# The others of the same device and type are compared with this one. On a CPU it is what users of a
# framework without the operator write; on a GPU the kernel of the published implementations.
BASES = {"cpu": PEER, "cuda": CLASSIC}

# Calls in one CUDA graph: together they take many times the resolution of events (0.5 us).
GRAPH_CALLS = 20
# Far beyond any cache, and large enough to reach the rates that a machine keeps up.
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
COPY_BYTES = 2**28

Call = Callable[[], Any]
# Seconds -> milliseconds of each call in that time.
Measure = Callable[[float], list[float]]


class UnavailableError(Exception):
    """This machine does not have what a home needs."""


@dataclass(frozen=True)
class Home:
    """One way to compute the correlation; ``dtype`` is that of inputs and results.

    ``prepare`` returns the forward pass and, where the home has one, the backward pass: calls
    without arguments that return the result, or both gradients.
    """

    name: str
    device: str
    dtype: str
    prepare: "Prepare"

    @property
    def kind(self) -> tuple[str, str]:
        """Device and type: what is compared with each other, and with one floor."""
        return self.device, self.dtype

    def __str__(self) -> str:
        return f"{self.name}, {self.dtype} on {self.device}"

    def tensors(self, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
        """f1, f2 and the output's gradient on the home's device and in its type."""
        f1, f2, grad = (
            torch.from_numpy(array).to(self.device, TORCH_DTYPES[self.dtype])
            for array in (problem.f1, problem.f2, problem.grad)
        )
        return f1, f2, grad


Prepare = Callable[[Home, Problem], tuple[Call, Call | None]]


@dataclass(frozen=True)
class Opened:
    """A home's passes by name, ready to be timed, and the largest error of all their results."""

    passes: dict[str, Measure]
    largest_error: float


def homes(dtypes: Sequence[str]) -> list[Home]:
    """All homes that take one of ``dtypes``, whether or not this machine has them."""
    anywhere: dict[str, Prepare] = {
        PEER: _peer,
        "PyTorch operators": _torch_operators,
    }
    on_cpu: dict[str, Prepare] = {
        **anywhere,
        **{
            f"CPU library, {name}": partial(_compiled, variant=f"cpu-{name}")
            for name in ("baseline", "avx2", "avx512")
        },
        "ONNX form, ONNX Runtime": partial(_onnx_form, runtime=in_onnxruntime),
        "ONNX form, OpenVINO": partial(_onnx_form, runtime=in_openvino),
    }
    on_gpu: dict[str, Prepare] = {
        **anywhere,
        CLASSIC: _classic,
        "CUDA library, plain": partial(_compiled, variant="cuda-plain"),
        "CUDA library, tensor cores": _tensor_cores,
    }
    found = [Home(name, "cpu", "fp32", prepare) for name, prepare in on_cpu.items()]
    found += [
        Home(name, "cuda", dtype, prepare)
        for dtype in TORCH_DTYPES
        for name, prepare in on_gpu.items()
        if (name, dtype) != ("CUDA library, tensor cores", "fp32")  # these multiply halves
    ]
    return [home for home in found if home.dtype in dtypes]


def open_home(home: Home, problem: Problem) -> Opened:
    """Prepare a home, run its passes once and compare them with ``kernels.reference``.

    Raises:
        UnavailableError: it cannot run here; the message is the reason.
        Exception: whatever else goes wrong in it.
    """
    torch.set_num_threads(problem.threads)
    if home.device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(f"no NVIDIA GPU that PyTorch {torch.__version__} can use")
    with _unavailable(home.device):
        forward, backward = home.prepare(home, problem)
        passes = {"forward": forward}
        errors = [largest_error(_arrays([forward()]), problem.forward)]
        if backward is not None:
            passes["backward"] = backward
            errors.append(largest_error(_arrays(backward()), problem.backward))
    timed = {name: _timer(call, home.device) for name, call in passes.items()}
    return Opened(timed, float(np.max(errors)))  # which, unlike max(), keeps a NaN


@contextmanager
def _unavailable(device: str) -> Iterator[None]:
    """Tell what this machine lacks from what is wrong."""
    try:
        yield
    except (BackendNotInstalledError, library.VariantError) as error:
        raise UnavailableError(str(error)) from error
    except library.KernelError as error:
        if library.load(device) is not None:
            raise
        raise UnavailableError(str(error)) from error


def _arrays(results: Sequence[Any]) -> list[NDArray[np.float64]]:
    return [torch.as_tensor(result).detach().double().cpu().numpy() for result in results]


def _peer(home: Home, problem: Problem) -> tuple[Call, Call | None]:
    f1, f2, grad = home.tensors(problem)
    parameters = problem.setting.max_displacement, problem.setting.stride_2
    forward = partial(shift_and_multiply, f1, f2, *parameters)
    if home.device == "cuda":
        # Autograd runs the backward pass on the stream of the forward pass, not on the one that a
        # CUDA graph captures.
        return forward, None
    inputs = f1.clone().requires_grad_(), f2.clone().requires_grad_()
    out = shift_and_multiply(*inputs, *parameters)
    return forward, partial(torch.autograd.grad, out, inputs, grad, retain_graph=True)


def shift_and_multiply(f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int) -> Tensor:
    """The definition as it is written where there is no operator: a product for each displacement.

    The peer: what users of a framework do without a kernel of their own.
    """
    height, width = f1.shape[2:]
    padded = F.pad(f2, [max_displacement] * 4)
    starts = range(0, 2 * max_displacement + 1, stride_2)
    products = [
        (f1 * padded[:, :, y : y + height, x : x + width]).mean(1, keepdim=True)
        for y in starts
        for x in starts
    ]
    return torch.cat(products, dim=1)


def _torch_operators(home: Home, problem: Problem) -> tuple[Call, Call]:
    f1, f2, grad = home.tensors(problem)
    parameters = problem.setting.parameters
    return (
        partial(torch_form.correlation, f1, f2, **parameters),
        partial(torch_form.gradients, grad, f1, f2, **parameters),
    )


def _compiled(home: Home, problem: Problem, *, variant: str) -> tuple[Call, Call]:
    f1, f2, grad = home.tensors(problem)
    arguments = _arguments(home, problem, variant)
    # What is not written must not pass for a result.
    grads = torch.full_like(f1, torch.nan), torch.full_like(f2, torch.nan)

    def backward() -> tuple[Tensor, Tensor]:
        addresses = (
            grad.data_ptr(), f1.data_ptr(), f2.data_ptr(), grads[0].data_ptr(), grads[1].data_ptr()
        )  # fmt: skip
        library.backward(home.device, arguments, addresses, stream=_stream(home))
        return grads

    return _forward(home, problem, arguments, f1, f2), backward


def _tensor_cores(home: Home, problem: Problem) -> tuple[Call, None]:
    """Forward only: the library's gradients are the plain kernels', whatever the variant."""
    f1, f2, _ = home.tensors(problem)
    return _forward(home, problem, _arguments(home, problem, "cuda-tensor-cores"), f1, f2), None


def _classic(home: Home, problem: Problem) -> tuple[Call, None]:
    """Forward only, and spared the rearrangement to NHWC that the published ones begin with."""
    f1, f2 = (f.permute(0, 2, 3, 1).contiguous() for f in home.tensors(problem)[:2])
    return _forward(home, problem, _arguments(home, problem, "cuda-classic"), f1, f2), None


def _forward(
    home: Home, problem: Problem, arguments: library.Arguments, f1: Tensor, f2: Tensor
) -> Call:
    shape = problem.setting.output_shape
    out = torch.full(shape, torch.nan, dtype=f1.dtype, device=f1.device)

    def forward() -> Tensor:
        addresses = f1.data_ptr(), f2.data_ptr(), out.data_ptr()
        library.forward(home.device, arguments, *addresses, stream=_stream(home))
        return out

    return forward


def _arguments(home: Home, problem: Problem, variant: str) -> library.Arguments:
    return library.arguments(
        problem.setting.features_shape,
        **problem.setting.parameters,
        dtype=str(TORCH_DTYPES[home.dtype]).removeprefix("torch."),
        variant=variant,
        threads=problem.threads,
    )


def _stream(home: Home) -> int | None:
    return torch.cuda.current_stream().cuda_stream if home.device == "cuda" else None


def _onnx_form(
    home: Home, problem: Problem, *, runtime: Callable[[Problem], Call]
) -> tuple[Call, None]:
    """Forward only, like all that a runtime does."""
    return runtime(problem), None


def matrix_product(device: str, dtype: str) -> tuple[Measure, int]:
    """A product of two large square matrices, and its number of operations."""
    side = MATRIX_SIDE[device]
    a, b, out = torch.rand(3, side, side, dtype=TORCH_DTYPES[dtype], device=device)
    return _timer(partial(torch.mm, a, b, out=out), device), 2 * side**3


def copy(device: str) -> tuple[Measure, int]:
    """A copy of a large array within a device's memory, and the bytes it reads and writes."""
    source, target = torch.ones(2, COPY_BYTES, dtype=torch.uint8, device=device)
    return _timer(partial(target.copy_, source), device), 2 * COPY_BYTES


def _timer(call: Call, device: str) -> Measure:
    """How a call is timed: by the host's clock on a CPU, by CUDA events on a GPU."""
    if device == "cpu":
        return lambda seconds: timed_ms(call, seconds=seconds)
    return _GraphTimer(call)


class _GraphTimer:
    """CUDA events around a graph of GRAPH_CALLS calls.

    A launch from Python takes longer than the kernel; in a graph the GPU starts the next one by
    itself. The inputs stay in the cache, as far as it goes, like those of a layer in a network.
    """

    def __init__(self, call: Call) -> None:
        self._call = call  # the graph does not hold the arrays that it reads and writes
        call()  # libraries set themselves up now, which no capture allows
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            for _ in range(GRAPH_CALLS):
                call()

    def __call__(self, seconds: float) -> list[float]:
        samples: list[float] = []
        timed_ms(lambda: samples.append(self._sample()), seconds=seconds)
        return samples

    def _sample(self) -> float:
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        self._graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / GRAPH_CALLS
