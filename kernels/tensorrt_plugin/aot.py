"""The correlation as an ahead-of-time plugin: a plan that carries the kernel and needs no library.

TensorRT's Python API asks three functions for the shape of the output, the types and the kernel,
while it builds; the plan has the kernel's PTX, its launch and its scalars, and runs without Python.
Sizes are fixed: what depends on them, the grid first of all, is a constant of the plan.
"""

import importlib
import logging
import re

from kernels import library
from kernels.arguments import CorrelationError, check_shapes, displacement_count

log = logging.getLogger("kernels")

NAMESPACE, NAME, VERSION = "flow", "correlation", "1"
PLUGIN = f"{NAMESPACE}::{NAME}"

PTX = "flow_correlation.ptx"
# The PTX is sm_80's (kernels/cuda.cmake); a newer GPU's own kernels would be the same ones.
CAPABILITY = 8
# An A100's, for a build that sees no GPU. They decide how many blocks share a pair of rows, and the
# plan's grid and its scalar `steps` do so together: on another GPU it is slower at worst.
MULTIPROCESSORS = 108

_DTYPES = {"FLOAT": "float32", "HALF": "float16"}


def register() -> None:
    """Make ``flow::correlation`` known to TensorRT, its ONNX parser included; once is enough.

    TensorRT keeps the first plugin of a name: a process takes either this one or a C++ library's.
    What does not suit the plugin in a network (dynamic sizes, other types) makes parsing or
    building fail; the reason is on stderr, where TensorRT's bindings print a plugin's exceptions.

    Raises:
        KernelError: there is no TensorRT with ahead-of-time plugins, or the CUDA library or its PTX
            was not built.
    """
    try:
        plugins = importlib.import_module("tensorrt.plugin")
    except ImportError as error:
        raise library.KernelError(
            f"no ahead-of-time plugins here ({error}); expected the package tensorrt, 10.9 or "
            "newer; tensorrt_rtx takes the correlation in standard ONNX operators"
        ) from error
    if hasattr(getattr(plugins.op, NAMESPACE, None), NAME):
        return
    # Check everything here, where an exception reaches the caller.
    kernel_ptx(_launch((1, 1, 1, 1), "float32", 0, 1, multiprocessors=1).kernel)
    _define()


def kernel_ptx(kernel: str) -> str:
    """The PTX of one kernel, as CMake compiled it.

    Of the whole file TensorRT and the driver would compile every kernel, to use one.

    Raises:
        KernelError: there is no such file, or no such kernel in it.
    """
    path = library.directory() / PTX
    if not path.is_file():
        raise library.KernelError(
            f"no {PTX} in {path.parent}; the plan is to contain kernels from it; run "
            "`make kernels` where nvcc is"
        )
    text = path.read_text(encoding="ascii")
    others = rf"^\.visible \.entry (?!{kernel}\()\w+\(.*?^\}}\n"
    alone = re.sub(others, "", text, flags=re.MULTILINE | re.DOTALL)
    if f".entry {kernel}(" not in alone:
        raise library.KernelError(
            f"{path} has no kernel {kernel}, so it does not belong to the library beside it; run "
            "`make kernels` where nvcc is"
        )
    return alone


def _define() -> None:
    import tensorrt.plugin as trtp

    # Every attribute in every function: the bindings pass all of them, by position.
    @trtp.register(PLUGIN)
    def output(
        f1: trtp.TensorDesc, f2: trtp.TensorDesc, max_displacement: int, stride_2: int
    ) -> trtp.TensorDesc:
        _check(f1, f2)
        batch, _, height, width = f1.shape_expr
        channels = displacement_count(max_displacement, stride_2) ** 2
        return trtp.from_shape_expr((batch, channels, height, width), f1.dtype)

    @trtp.autotune(PLUGIN)
    def types(
        f1: trtp.TensorDesc,
        f2: trtp.TensorDesc,
        max_displacement: int,
        stride_2: int,
        outputs: tuple[trtp.TensorDesc],
    ) -> list[trtp.AutoTuneCombination]:
        # This function must not raise: its exceptions, unlike the others', end the process.
        return [trtp.AutoTuneCombination("FP32|FP16, FP32|FP16, FP32|FP16", "LINEAR")]

    @trtp.aot_impl(PLUGIN)
    def implementation(
        f1: trtp.TensorDesc,
        f2: trtp.TensorDesc,
        max_displacement: int,
        stride_2: int,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        launch = _launch(
            _check(f1, f2),
            _DTYPES[f1.dtype.name],
            max_displacement,
            stride_2,
            multiprocessors=_multiprocessors(),
        )
        x, y, z = launch.grid
        grid = trtp.KernelLaunchParams(
            grid_x=x, grid_y=y, grid_z=z, block_x=launch.threads, shared_mem=launch.shared_bytes
        )
        scalars = trtp.SymIntExprs(len(launch.scalars))
        for index, value in enumerate(launch.scalars):
            scalars[index] = trtp.SymInt32(value)
        return launch.kernel, kernel_ptx(launch.kernel), grid, scalars


def _launch(
    shape: tuple[int, ...],
    dtype: str,
    max_displacement: int,
    stride_2: int,
    *,
    multiprocessors: int,
) -> library.Launch:
    batch, channels, height, width = shape
    arguments = library.arguments(
        (batch, channels, height, width),
        max_displacement=max_displacement,
        stride_2=stride_2,
        dtype=dtype,
    )
    return library.launch(arguments, capability=CAPABILITY, multiprocessors=multiprocessors)


def _multiprocessors() -> int:
    try:
        capability, multiprocessors = library.cuda_device()
    except library.KernelError as error:
        log.warning("the plan's grid is made for %d multiprocessors: %s", MULTIPROCESSORS, error)
        return MULTIPROCESSORS
    if capability < CAPABILITY:
        raise library.KernelError(
            f"correlation: this GPU has compute capability {capability}.x; expected {CAPABILITY}.0 "
            "or newer for the plugin's PTX; take the correlation in standard ONNX operators"
        )
    return multiprocessors


def _check(f1, f2) -> tuple[int, ...]:
    """The shape of both, once TensorRT knows it; before that, -1 for each size."""
    shape1, shape2 = _shape("f1", f1), _shape("f2", f2)
    check_shapes(shape1, shape2)
    if f1.dtype != f2.dtype or f1.dtype.name not in _DTYPES:
        raise CorrelationError(
            f"correlation: f1 is {f1.dtype.name} and f2 is {f2.dtype.name}; "
            "expected FLOAT or HALF for both"
        )
    return shape1


def _shape(name: str, tensor) -> tuple[int, ...]:
    # With dynamic sizes ahead-of-time plugins would leak GPU memory at every change of shape
    # (TensorRT 11.1 and 11.2, github.com/NVIDIA/TensorRT/issues/4849).
    sizes = tuple(tensor.shape_expr)
    if any(size.is_fake for size in sizes):
        return (-1,) * len(sizes)
    if not all(size.is_constant for size in sizes):
        shown = ", ".join(str(s.constant_value()) if s.is_constant else "?" for s in sizes)
        raise CorrelationError(
            f"correlation: {name} has dynamic sizes, ({shown}); expected fixed ones: build the "
            "plan for one size, or take the correlation in standard ONNX operators"
        )
    return tuple(size.constant_value() for size in sizes)
