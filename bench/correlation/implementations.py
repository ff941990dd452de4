"""The implementations of the correlation, opened on one problem.

Only the operator is timed: inputs are in the implementation's layout and memory, and the result
stays there. The compiled libraries reuse one output array; the others allocate each result.
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

from bench.correlation.floor import TORCH_DTYPES, Kind
from bench.correlation.onnx import in_onnxruntime, in_openvino
from bench.correlation.problem import Problem, largest_error
from bench.correlation.timers import Call, Timer, timer
from engine.errors import BackendNotInstalledError
from kernels import library, torch_form

SHIFT_AND_MULTIPLY, CLASSIC = "shift and multiply, PyTorch", "CUDA library, classic"
# The others of the same device and type are compared with the baseline: on a CPU, what users of a
# framework without the operator write; on a GPU, the kernel of the published implementations.
BASELINES = {"cpu": SHIFT_AND_MULTIPLY, "cuda": CLASSIC}


class UnavailableError(Exception):
    """This machine lacks something that an implementation needs."""


@dataclass(frozen=True)
class Implementation:
    """One way to compute the correlation; ``dtype`` is that of inputs and results.

    ``prepare`` returns the forward pass and the backward pass, if there is one: calls without
    arguments that return the result, or both gradients.
    """

    name: str
    device: str
    dtype: str
    prepare: "Prepare"

    @property
    def kind(self) -> Kind:
        """Device and type: implementations of one kind are compared with each other."""
        return self.device, self.dtype

    def __str__(self) -> str:
        return f"{self.name}, {self.dtype} on {self.device}"

    def tensors(self, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
        """Return f1, f2 and the output's gradient on the device and in the type."""
        f1, f2, grad = (
            torch.from_numpy(array).to(self.device, TORCH_DTYPES[self.dtype])
            for array in (problem.f1, problem.f2, problem.grad)
        )
        return f1, f2, grad


Prepare = Callable[[Implementation, Problem], tuple[Call, Call | None]]


@dataclass(frozen=True)
class Opened:
    """The timers of an implementation's passes, and the largest error of their results."""

    timers: dict[str, Timer]
    largest_error: float


def implementations(dtypes: Sequence[str]) -> list[Implementation]:
    """Return all implementations of some of ``dtypes``, available on this machine or not."""
    anywhere: dict[str, Prepare] = {
        SHIFT_AND_MULTIPLY: _shift_and_multiply,
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
    found = [Implementation(name, "cpu", "fp32", prepare) for name, prepare in on_cpu.items()]
    found += [
        Implementation(name, "cuda", dtype, prepare)
        for dtype in TORCH_DTYPES
        for name, prepare in on_gpu.items()
        if (name, dtype) != ("CUDA library, tensor cores", "fp32")  # these multiply fp16
    ]
    return [each for each in found if each.dtype in dtypes]


def open_implementation(chosen: Implementation, problem: Problem) -> Opened:
    """Prepare an implementation, run its passes once and compare them with ``kernels.reference``.

    Raises:
        UnavailableError: it cannot run here; the message is the reason.
        Exception: any error of it.
    """
    torch.set_num_threads(problem.threads)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(f"no NVIDIA GPU that PyTorch {torch.__version__} can use")
    with _unavailable(chosen.device):
        forward, backward = chosen.prepare(chosen, problem)
        calls = {"forward": forward}
        errors = [largest_error(_arrays([forward()]), problem.forward)]
        if backward is not None:
            calls["backward"] = backward
            errors.append(largest_error(_arrays(backward()), problem.backward))
    timers = {name: timer(call, chosen.device) for name, call in calls.items()}
    return Opened(timers, float(np.max(errors)))  # unlike max(), it keeps a NaN


@contextmanager
def _unavailable(device: str) -> Iterator[None]:
    """Turn errors about something that this machine lacks into UnavailableError."""
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


def _shift_and_multiply(chosen: Implementation, problem: Problem) -> tuple[Call, Call | None]:
    f1, f2, grad = chosen.tensors(problem)
    parameters = problem.setting.max_displacement, problem.setting.stride_2
    forward = partial(shift_and_multiply, f1, f2, *parameters)
    if chosen.device == "cuda":
        # Autograd runs the backward pass on the stream of the forward pass, not on the one that a
        # CUDA graph captures.
        return forward, None
    inputs = f1.clone().requires_grad_(), f2.clone().requires_grad_()
    out = shift_and_multiply(*inputs, *parameters)
    return forward, partial(torch.autograd.grad, out, inputs, grad, retain_graph=True)


def shift_and_multiply(f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int) -> Tensor:
    """Compute the correlation by one product per displacement, as without an operator for it."""
    height, width = f1.shape[2:]
    padded = F.pad(f2, [max_displacement] * 4)
    starts = range(0, 2 * max_displacement + 1, stride_2)
    products = [
        (f1 * padded[:, :, y : y + height, x : x + width]).mean(1, keepdim=True)
        for y in starts
        for x in starts
    ]
    return torch.cat(products, dim=1)


def _torch_operators(chosen: Implementation, problem: Problem) -> tuple[Call, Call]:
    f1, f2, grad = chosen.tensors(problem)
    parameters = problem.setting.parameters
    return (
        partial(torch_form.correlation, f1, f2, **parameters),
        partial(torch_form.gradients, grad, f1, f2, **parameters),
    )


def _compiled(chosen: Implementation, problem: Problem, *, variant: str) -> tuple[Call, Call]:
    f1, f2, grad = chosen.tensors(problem)
    arguments = _arguments(chosen, problem, variant)
    # NaN: values that are not written are no results.
    grads = torch.full_like(f1, torch.nan), torch.full_like(f2, torch.nan)

    def backward() -> tuple[Tensor, Tensor]:
        addresses = (
            grad.data_ptr(), f1.data_ptr(), f2.data_ptr(), grads[0].data_ptr(), grads[1].data_ptr()
        )  # fmt: skip
        library.backward(chosen.device, arguments, addresses, stream=_stream(chosen))
        return grads

    return _forward(chosen, problem, arguments, f1, f2), backward


def _tensor_cores(chosen: Implementation, problem: Problem) -> tuple[Call, None]:
    """Forward only: the library's gradients are those of the plain kernels in every variant."""
    f1, f2, _ = chosen.tensors(problem)
    return _forward(chosen, problem, _arguments(chosen, problem, "cuda-tensor-cores"), f1, f2), None


def _classic(chosen: Implementation, problem: Problem) -> tuple[Call, None]:
    """Forward only, without the published kernels' rearrangement of the inputs to NHWC."""
    f1, f2 = (f.permute(0, 2, 3, 1).contiguous() for f in chosen.tensors(problem)[:2])
    return _forward(chosen, problem, _arguments(chosen, problem, "cuda-classic"), f1, f2), None


def _forward(
    chosen: Implementation, problem: Problem, arguments: library.Arguments, f1: Tensor, f2: Tensor
) -> Call:
    shape = problem.setting.output_shape
    out = torch.full(shape, torch.nan, dtype=f1.dtype, device=f1.device)

    def forward() -> Tensor:
        addresses = f1.data_ptr(), f2.data_ptr(), out.data_ptr()
        library.forward(chosen.device, arguments, *addresses, stream=_stream(chosen))
        return out

    return forward


def _arguments(chosen: Implementation, problem: Problem, variant: str) -> library.Arguments:
    return library.arguments(
        problem.setting.features_shape,
        **problem.setting.parameters,
        dtype=str(TORCH_DTYPES[chosen.dtype]).removeprefix("torch."),
        variant=variant,
        threads=problem.threads,
    )


def _stream(chosen: Implementation) -> int | None:
    return torch.cuda.current_stream().cuda_stream if chosen.device == "cuda" else None


def _onnx_form(
    chosen: Implementation, problem: Problem, *, runtime: Callable[[Problem], Call]
) -> tuple[Call, None]:
    """Forward only, like every inference runtime."""
    return runtime(problem), None
