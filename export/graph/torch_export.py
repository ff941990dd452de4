"""ONNX from a PyTorch module, by PyTorch's exporter."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import onnx
import torch
import torch._dynamo.config
import torch.fx.config
import torch.fx.experimental._config
from onnxscript import rewriter
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch.export import Dim
from torch.fx.experimental import proxy_tensor

from export.graph.decompose import decompose
from export.graph.flow_heads import transpose_heads
from export.graph.operators import operator_table
from export.memory import release_memory
from training.networks.entry import Port

# The oldest opset of torch's exporter; all runtimes support it, including TensorRT 10 on Jetson.
OPSET = 18

# ONNX functions of custom operators, see `kernels.onnx_ops`.
TranslationTable = Mapping[Any, Callable[..., Any]]


def example(height: int, width: int, value: int) -> Tensor:
    """Return images to trace with, uint8 (2, height, width, 3).

    Sizes must differ from each other and from constants, or tracing specialises on them. Planes are
    contiguous, as symbolic strides of channels last take longer to trace.
    """
    planes = torch.full((2, 3, height, width), value, dtype=torch.uint8)
    return planes.permute(0, 2, 3, 1)


def export(
    module: nn.Module,
    inputs: Mapping[Port, Tensor],
    outputs: Sequence[Port],
    *,
    metadata: Mapping[str, str] | None = None,
    table: TranslationTable | None = None,
) -> onnx.ModelProto:
    """Export a module with dynamic axes.

    Args:
        module: has ``divisor``, of which the images' sides are multiples, and maybe ``smallest``,
            their least length.
        inputs: an example of each input.
        outputs: names and axes of its outputs.
        metadata: written into the file's ``metadata_props``.
        table: ONNX functions for custom operators.
    """
    divisor = int(module.divisor)  # type: ignore[arg-type]
    least = int(getattr(module, "smallest", divisor)) // divisor
    with _quiet_exporter(), _fast_export(), torch.no_grad():
        program = torch.export.export(
            module.eval(),
            tuple(inputs.values()),
            dynamic_shapes=_dynamic_shapes(
                module, [_dynamic_axes(port, divisor, least) for port in inputs]
            ),
        )
        # torch.onnx.export calls this method for what ONNX has no operator for.
        program.run_decompositions = partial(decompose, program)
        exported = torch.onnx.export(
            program,
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            opset_version=OPSET,
            custom_translation_table=operator_table() | dict(table or {}),
            optimize=True,
            verbose=False,
        )
    if exported is None:  # only when torch.onnx.export writes a file itself
        raise RuntimeError("torch.onnx.export returned no model")
    model = exported.model_proto
    # The rules of onnxscript's optimizer keep the last graph that they saw, for good.
    for value in exported.model.graph.initializers.values():
        value.const_value = None
    del program, exported  # each holds the weights once more
    release_memory()
    _tidy(model, (*inputs, *outputs))
    transpose_heads(model)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def _dynamic_shapes(module: nn.Module, axes: Sequence[dict[int, Any]]) -> tuple[Any, ...]:
    """Return the axes as torch.export takes them: those for ``*arguments`` in a tuple."""
    kinds = [item.kind for item in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(axes)
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*axes[:named], tuple(axes[named:]))


def _dynamic_axes(port: Port, divisor: int, least: int) -> dict[int, Any]:
    """Multiples of ``divisor``, at least ``least`` of them; so much less for feature maps."""
    axes: dict[int, Any] = {}
    for axis, name in enumerate(port.axes):
        side, _, stride = name.partition(" / ")
        if side in ("height", "width"):
            axes[axis] = divisor // int(stride or 1) * Dim(f"{side}_blocks", min=max(least, 1))
        elif side:
            axes[axis] = Dim(side, min=1 if side == "batch" else 2)
    return axes


def _tidy(model: onnx.ModelProto, ports: Sequence[Port]) -> None:
    """Name the open axes, and drop what only describes the exporting machine's source files."""
    for value, port in zip((*model.graph.input, *model.graph.output), ports, strict=True):
        for dimension, name in zip(value.type.tensor_type.shape.dim, port.axes, strict=True):
            if name:
                dimension.dim_param = name
    for item in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                 *model.graph.initializer):  # fmt: skip
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.graph.ClearField("value_info")
    cast_images_first(model)


def cast_images_first(model: onnx.ModelProto) -> None:
    """Take images' sizes behind their Cast: TensorRT takes a uint8 input straight into that."""
    uint8 = onnx.TensorProto.UINT8
    images = [x.name for x in model.graph.input if x.type.tensor_type.elem_type == uint8]
    casts = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in images]
    others = [node for node in model.graph.node if node not in casts]
    renamed = {cast.input[0]: cast.output[0] for cast in casts}
    for node in others:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *others])


@contextlib.contextmanager
def _fast_export() -> Iterator[None]:
    """Set up torch.export for symbolic sizes, and the optimizer after it for many nodes."""
    with (
        # As torch.onnx.export has it: a size of 1 is not a special case.
        patch.object(torch.fx.experimental._config, "backed_size_oblivious", True),
        # With symbolic sizes, looking an operator up takes longer than evaluating its shape.
        patch.object(torch._dynamo.config, "fake_tensor_cache_enabled", False),
        # PyTorch evaluates the shape of grid_sample by computing it from some 100 operators.
        patch.dict(decomposition_table, {torch.ops.aten.grid_sampler_2d.default: _sampled}),
        # For each tensor, whether its symbolic strides are those of a memory format, of which ONNX
        # knows nothing.
        patch.object(
            proxy_tensor,
            "_extract_tensor_metadata",
            partial(proxy_tensor._extract_tensor_metadata, include_contiguity=False),
        ),
        # Stack traces are not written to the file. PyTorch 2.11 lacks the setting.
        patch.object(torch.fx.config, "do_not_emit_stack_traces", True, create=True),
        # For each node this one of onnxscript's rules goes through all others: half of the time of
        # an export of 7,700 nodes.
        patch.object(rewriter, "_DEFAULT_REWRITE_RULES", _rules_without("SlicesSplit")),
    ):
        yield


def _rules_without(name: str) -> tuple[rewriter.RewriteRule, ...]:
    return tuple(rule for rule in rewriter._DEFAULT_REWRITE_RULES if rule.name != name)


def _sampled(maps: Tensor, grid: Tensor, *_: Any) -> Tensor:
    return maps.new_empty((*maps.shape[:2], *grid.shape[1:3]))


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says about itself: missing torchvision, deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
