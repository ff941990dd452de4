"""The operator ``flow::correlation`` for PyTorch: eager, autograd, torch.compile, torch.export.

float32, float16 and bfloat16 run in the compiled libraries, through their C interface on raw
pointers, so no build of torch has to match; the CPU's library is handed float32. Everything else,
float64 among it, and machines where no library was built, run in plain torch operators.
"""

import logging
from functools import cache

import torch
from torch import Tensor

from kernels import library, torch_form
from kernels.arguments import CorrelationError, check_shapes, displacement_count

log = logging.getLogger("kernels")

# What the libraries take. Lower precisions pass through float32 on the CPU.
_COMPILED = {
    "cpu": {torch.float32: "float32"},
    "cuda": {
        torch.float32: "float32",
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    },
}


@torch.library.custom_op("flow::correlation", mutates_args=())
def correlation(f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int) -> Tensor:
    """Correlate two feature maps; meaning and shapes as in ``kernels.reference.correlation``.

    Args:
        f1: features of the first image, (N, C, H, W), any floating type; sums are kept in float32
            (float64 for float64).
        f2: features of the second image, same shape, type and device.
        max_displacement: largest displacement along each axis.
        stride_2: step between displacements; divides max_displacement.

    Returns:
        (N, K, H, W) in the type of the inputs.

    Raises:
        CorrelationError: the arguments do not fit together.
    """
    out = _empty_output(f1, f2, max_displacement, stride_2)
    if _is_widened(f1):
        return correlation(f1.float(), f2.float(), max_displacement, stride_2).to(f1.dtype)
    if not _has_kernel(f1.device.type, f1.dtype):
        return torch_form.correlation(f1, f2, max_displacement, stride_2).contiguous()
    f1, f2 = f1.contiguous(), f2.contiguous()
    with torch.cuda.device_of(f1):
        library.forward(
            f1.device.type,
            _arguments(f1, max_displacement, stride_2),
            f1.data_ptr(),
            f2.data_ptr(),
            out.data_ptr(),
            stream=_stream(f1),
        )
    return out


@torch.library.custom_op("flow::correlation_backward", mutates_args=())
def correlation_backward(
    grad: Tensor, f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int
) -> tuple[Tensor, Tensor]:
    """Gradients of f1 and f2 from the gradient of the output."""
    if _is_widened(f1):
        wide = (grad.float(), f1.float(), f2.float())
        grad1, grad2 = correlation_backward(*wide, max_displacement, stride_2)
        return grad1.to(f1.dtype), grad2.to(f1.dtype)
    if not _has_kernel(f1.device.type, f1.dtype):
        grad1, grad2 = torch_form.gradients(grad, f1, f2, max_displacement, stride_2)
        return grad1.contiguous(), grad2.contiguous()
    grad, f1, f2 = grad.contiguous(), f1.contiguous(), f2.contiguous()
    grad1, grad2 = torch.empty_like(f1), torch.empty_like(f2)
    with torch.cuda.device_of(f1):
        library.backward(
            f1.device.type,
            _arguments(f1, max_displacement, stride_2),
            (
                grad.data_ptr(),
                f1.data_ptr(),
                f2.data_ptr(),
                grad1.data_ptr(),
                grad2.data_ptr(),
            ),
            stream=_stream(f1),
        )
    return grad1, grad2


@correlation.register_fake
def _empty_output(f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int) -> Tensor:
    """What ``correlation`` returns, without its values; refuses what cannot be correlated."""
    check_shapes(f1.shape, f2.shape)
    if f1.dtype != f2.dtype or not f1.dtype.is_floating_point:
        raise CorrelationError(
            f"correlation: f1 is {f1.dtype} and f2 is {f2.dtype}; "
            "expected one floating type for both"
        )
    if f1.device != f2.device:
        raise CorrelationError(
            f"correlation: f1 is on {f1.device} and f2 on {f2.device}; expected one device"
        )
    count = displacement_count(max_displacement, stride_2)
    batch, _, height, width = f1.shape
    return f1.new_empty((batch, count**2, height, width))


@correlation_backward.register_fake
def _empty_gradients(
    grad: Tensor, f1: Tensor, f2: Tensor, max_displacement: int, stride_2: int
) -> tuple[Tensor, Tensor]:
    return f1.new_empty(f1.shape), f2.new_empty(f2.shape)


def _save(ctx, inputs, output) -> None:
    f1, f2, ctx.max_displacement, ctx.stride_2 = inputs
    ctx.save_for_backward(f1, f2)


def _differentiate(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
    f1, f2 = ctx.saved_tensors
    grads = torch.ops.flow.correlation_backward(grad, f1, f2, ctx.max_displacement, ctx.stride_2)
    return *grads, None, None


correlation.register_autograd(_differentiate, setup_context=_save)


def _is_widened(f1: Tensor) -> bool:
    return f1.device.type == "cpu" and f1.dtype in (torch.float16, torch.bfloat16)


@cache
def _has_kernel(device: str, dtype: torch.dtype) -> bool:
    if dtype not in _COMPILED.get(device, {}):
        return False
    if library.load(device) is None:
        log.warning(
            "no correlation library for %s in %s: slower torch operators take its place; "
            "`make kernels` builds it",
            device,
            library.directory(),
        )
        return False
    return True


def _arguments(f1: Tensor, max_displacement: int, stride_2: int) -> library.Arguments:
    batch, channels, height, width = f1.shape
    return library.arguments(
        (batch, channels, height, width),
        max_displacement=max_displacement,
        stride_2=stride_2,
        dtype=_COMPILED[f1.device.type][f1.dtype],
        threads=torch.get_num_threads(),
    )


def _stream(tensor: Tensor) -> int | None:
    if tensor.device.type != "cuda":
        return None
    return torch.cuda.current_stream(tensor.device).cuda_stream
