"""The correlation in standard ONNX operators, for every runtime without an operator of its own.

The same idea as the compiled kernels: the pixels of one residue modulo stride_2 in four rows of f1,
against all rows of f2 that these can reach, are one matrix product; of its result one Gather keeps
the bands, in output order. Two products for each useful one at FlowNetC's 48x64, but the fastest
form that ONNX Runtime and OpenVINO have, and no plugin in TensorRT. Sums are kept in float32
whatever the type of the inputs; batch, height and width may be dynamic.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import ArrayLike

from kernels.arguments import displacement_count
from kernels.tensorrt_plugin.aot import NAME, NAMESPACE, VERSION

# Rows of one residue per product: fewer copy f2 more often, more multiply further off the band.
BLOCK = 4

OPSET = 18

# An object whose methods add nodes, and what these return: ``op.Add(a, b)`` is the sum's value.
Builder = Any
Value = Any


class GraphBuilder:
    """Collects nodes in ``tape``: each method is an ONNX operator."""

    def __init__(self) -> None:
        self.tape = ir.tape.Tape()

    def __getattr__(self, name: str) -> Callable[..., ir.Value]:
        return lambda *inputs, **attributes: self.tape.op(name, inputs, attributes)


def correlation(op: Builder, f1: Value, f2: Value, max_displacement: int, stride_2: int) -> Value:
    """Add the operator to the graph that ``op`` builds.

    Args:
        op: a ``GraphBuilder``, or an opset of onnxscript while one of its tracers runs.
        f1: features of the first image, (N, C, H, W), any floating type.
        f2: features of the second image, same shape and type.
        max_displacement: largest displacement along each axis.
        stride_2: step between displacements; divides max_displacement.

    Returns:
        The result, as ``kernels.reference.correlation``, in the type of f1.

    Raises:
        CorrelationError: max_displacement is not a multiple of stride_2.
    """
    count = displacement_count(max_displacement, stride_2)
    rows = BLOCK + count - 1  # of f2, per residue, that a block of f1 reaches
    size = op.Shape(f1)
    channels, height, width = (op.Gather(size, _constant(op, axis)) for axis in (1, 2, 3))
    columns = _divide_up(op, width, stride_2)
    blocks = _divide_up(op, height, BLOCK * stride_2)
    # One column more than f1 has, outside the image: what displacements over the edge will read.
    wide = op.Add(columns, _constant(op, 1))

    mean = op.Div(_pixels(op, f1), op.Cast(channels, to=onnx.TensorProto.FLOAT))
    taken1 = _pixel_indices(op, height, width, blocks, columns, stride_2, range(BLOCK))
    first = op.Gather(mean, taken1, axis=1)
    reached = range(-(count // 2), rows - count // 2)
    taken2 = _pixel_indices(op, height, width, blocks, wide, stride_2, reached)
    second = op.Gather(_pixels(op, f2), taken2, axis=1)
    products = op.MatMul(second, op.Transpose(first, perm=[0, 1, 2, 4, 3]))

    flat = op.Reshape(products, _constant(op, [0, 0, -1]))
    band = op.Gather(flat, _band_indices(op, width, columns, stride_2, count), axis=2)
    all_rows = op.Mul(blocks, _constant(op, [BLOCK * stride_2]))
    shape = op.Concat(_constant(op, [0, count**2]), all_rows, _constant(op, [-1]), axis=0)
    joined = op.Reshape(op.Transpose(band, perm=[0, 2, 1, 3, 4]), shape)
    end = op.Reshape(height, _constant(op, [1]))
    inside = op.Slice(joined, _constant(op, [0]), end, _constant(op, [2]))
    return inside if f1.dtype == ir.DataType.FLOAT else op.CastLike(inside, f1)


def translation_table() -> dict[Any, Callable[..., Any]]:
    """For ``torch.onnx.export(..., custom_translation_table=...)``."""
    import onnxscript
    import torch

    import kernels.torch_op  # noqa: F401  registers flow::correlation

    def translate(f1: Value, f2: Value, max_displacement: int, stride_2: int) -> Value:
        return correlation(onnxscript.opset18, f1, f2, max_displacement, stride_2)

    return {torch.ops.flow.correlation.default: translate}


def plugin_table() -> dict[Any, Callable[..., Any]]:
    """As ``translation_table``, but the operator stays one node, for TensorRT's plugins.

    TensorRT's ONNX parser looks a plugin up by the node's type and by the attributes
    ``plugin_namespace`` and ``plugin_version`` (FallbackPluginImporter in
    github.com/onnx/onnx-tensorrt, onnxOpImporters.cpp; the domain counts from 10.10 on). The two
    integers arrive in the plugin as int32 fields, whatever the ONNX type.
    """
    import onnxscript
    import torch

    import kernels.torch_op  # noqa: F401  registers flow::correlation

    domain = onnxscript.values.Opset(NAMESPACE, int(VERSION))
    node = onnxscript.values.Op(domain, NAME, _schema())

    def translate(f1: Value, f2: Value, max_displacement: int, stride_2: int) -> Value:
        return node(
            f1,
            f2,
            max_displacement=max_displacement,
            stride_2=stride_2,
            plugin_namespace=NAMESPACE,
            plugin_version=VERSION,
        )

    return {torch.ops.flow.correlation.default: translate}


def correlation_model(
    *,
    max_displacement: int,
    stride_2: int,
    shape: tuple[int | str, int | str, int | str, int | str] = ("N", "C", "H", "W"),
    dtype: int = onnx.TensorProto.FLOAT,
) -> onnx.ModelProto:
    """The operator alone: inputs f1, f2 and output ``correlation``; strings are dynamic sizes.

    Raises:
        CorrelationError: max_displacement is not a multiple of stride_2.
    """
    batch, _, height, width = shape
    kind = ir.TensorType(ir.DataType(dtype))
    f1, f2 = (ir.Value(name=name, type=kind, shape=ir.Shape(shape)) for name in ("f1", "f2"))
    builder = GraphBuilder()
    out = correlation(builder, f1, f2, max_displacement, stride_2)
    out.name, out.type = "correlation", kind
    out.shape = ir.Shape(
        [batch, displacement_count(max_displacement, stride_2) ** 2, height, width]
    )
    graph = ir.Graph(
        [f1, f2], [out], nodes=builder.tape.nodes, opset_imports={"": OPSET}, name="correlation"
    )
    return ir.to_proto(ir.Model(graph, ir_version=10))


def _schema() -> onnx.defs.OpSchema:
    schema = onnx.defs.OpSchema
    integer, string = schema.AttrType.INT, schema.AttrType.STRING
    return schema(
        NAME,
        NAMESPACE,
        int(VERSION),
        inputs=[schema.FormalParameter(name, "T") for name in ("f1", "f2")],
        outputs=[schema.FormalParameter(NAME, "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "")],
        attributes=[
            schema.Attribute("max_displacement", integer),
            schema.Attribute("stride_2", integer),
            schema.Attribute("plugin_namespace", string),
            schema.Attribute("plugin_version", string),
        ],
    )


def _constant(op: Builder, values: ArrayLike) -> Value:
    return op.Constant(value=ir.tensor(np.asarray(values, np.int64)))


def _divide_up(op: Builder, value: Value, divisor: int) -> Value:
    return op.Div(op.Add(value, _constant(op, divisor - 1)), _constant(op, divisor))


def _range(op: Builder, end: Value, axis: int, rank: int, *, step: int = 1) -> Value:
    """0, step, 2 step ... below ``end``, along one of ``rank`` axes."""
    values = op.Range(_constant(op, 0), end, _constant(op, step))
    return op.Unsqueeze(values, _constant(op, [i for i in range(rank) if i != axis]))


def _pixels(op: Builder, features: Value) -> Value:
    """(N, C, H, W) -> (N, H * W + 1, C) float32; the last pixel is zero."""
    if features.dtype != ir.DataType.FLOAT:
        features = op.Cast(features, to=onnx.TensorProto.FLOAT)
    flat = op.Reshape(features, _constant(op, [0, 0, -1]))
    return op.Transpose(op.Pad(flat, _constant(op, [0, 0, 0, 0, 0, 1])), perm=[0, 2, 1])


def _pixel_indices(
    op: Builder,
    height: Value,
    width: Value,
    blocks: Value,
    columns: Value,
    stride: int,
    rows: range,
) -> Value:
    """(blocks, stride * stride, rows * columns) indices into ``_pixels``.

    Of each residue, ``rows`` relative to the block's first and ``columns`` from the first on; what
    lies outside the image is the zero pixel.
    """
    residues = np.arange(stride)
    members = residues[:, None] + stride * np.asarray(rows)
    step = BLOCK * stride
    tops = _range(op, op.Mul(blocks, _constant(op, step)), 0, 5, step=step)
    y = op.Add(tops, _constant(op, members[None, :, None, :, None]))
    lefts = op.Mul(_range(op, columns, 4, 5), _constant(op, stride))
    x = op.Add(lefts, _constant(op, residues[None, None, :, None, None]))

    zero_pixel = op.Mul(height, width)
    inside = op.And(op.GreaterOrEqual(y, _constant(op, 0)), op.Less(y, height))
    row = op.Where(inside, op.Mul(y, width), zero_pixel)
    column = op.Where(op.Less(x, width), x, zero_pixel)
    indices = op.Min(op.Add(row, column), zero_pixel)
    return op.Reshape(indices, _constant(op, [0, stride**2, -1]))


def _band_indices(op: Builder, width: Value, columns: Value, stride: int, count: int) -> Value:
    """(count * count, BLOCK * stride, width) indices into the products of one block.

    These are [residue of y][residue of x][row of f2][column of f2][row of f1][column of f1], f2
    having one column more than f1. The indices are the sum of a part that depends on the rows and
    one that depends on the columns.
    """
    rows = BLOCK + count - 1
    wide = op.Add(columns, _constant(op, 1))
    pixels_of_f1 = op.Mul(columns, _constant(op, BLOCK))
    row_size = op.Mul(wide, pixels_of_f1)

    y, i = np.arange(BLOCK * stride)[None, None, :, None], np.arange(count)[:, None, None, None]
    row = y % stride * stride * rows + y // stride + i
    by_row = op.Add(
        op.Mul(_constant(op, row), row_size), op.Mul(_constant(op, y // stride), columns)
    )

    x = _range(op, width, 3, 4)
    column = op.Div(x, _constant(op, stride))
    residue = op.Sub(x, op.Mul(column, _constant(op, stride)))
    shifts = np.arange(count)[None, :, None, None] - count // 2
    other = op.Add(column, _constant(op, shifts))
    inside = op.And(op.GreaterOrEqual(other, _constant(op, 0)), op.Less(other, columns))
    reached = op.Mul(op.Where(inside, other, columns), pixels_of_f1)
    plane = op.Mul(residue, op.Mul(row_size, _constant(op, rows)))
    by_column = op.Add(op.Add(plane, reached), column)
    return op.Reshape(op.Add(by_row, by_column), _constant(op, [count**2, BLOCK * stride, -1]))
