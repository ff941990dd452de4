"""The correlation in standard ONNX operators, as a function that any runtime can inline.

The same idea as the compiled kernels: pixels of equal residue modulo stride_2 in four neighbouring
rows of f1, against all rows of f2 that these can reach, is one matrix product; of its result one
Gather keeps the bands, in output order. Products per useful one: about two at FlowNetC's 48x64.
Sums are kept in float32 whatever the type of the inputs. Batch, height and width may be dynamic.
"""

from typing import Any

import onnx
import onnx.inliner
import onnxscript
from onnx import TensorProto, helper
from onnxscript import opset18 as op

from kernels.arguments import displacement_count

DOMAIN = "flow"

# Rows of one residue per product: fewer copy f2 more often, more multiply further off the band.
BLOCK = 4

_functions = onnxscript.values.Opset(DOMAIN, 1)


@onnxscript.script(_functions)
def pixels(features):  # noqa: ANN001, ANN201
    """(N, C, H, W) -> (N, H * W + 1, C) float32; the last pixel is zero."""
    flat = op.Reshape(op.Cast(features, to=1), op.Constant(value_ints=[0, 0, -1]))
    padded = op.Pad(flat, op.Constant(value_ints=[0, 0, 0, 0, 0, 1]))
    return op.Transpose(padded, perm=[0, 2, 1])


@onnxscript.script(_functions)
def counted(count):  # noqa: ANN001, ANN201
    """0, 1, ... count - 1."""
    return op.Range(op.Constant(value_int=0), count, op.Constant(value_int=1))


# Literals in arithmetic would become CastLike nodes, which no runtime folds: constants are written
# out as nodes.


@onnxscript.script(_functions)
def pixel_indices(height, width, blocks, first, rows, columns, stride):  # noqa: ANN001, ANN201
    """(blocks, stride * stride, rows * columns) indices into ``pixels``.

    Block b takes ``rows`` rows of each residue from its row ``b * BLOCK + first`` on, and
    ``columns`` columns of each residue; what lies outside the image is the zero pixel.
    """
    zero = op.Constant(value_int=0)
    zero_pixel = height * width
    residues = counted(stride)
    block = op.Constant(value_int=BLOCK)
    block_rows = op.Unsqueeze(counted(blocks) * block + first, [1, 2, 3, 4]) + op.Unsqueeze(
        counted(rows), [0, 1, 2, 4]
    )
    y = block_rows * stride + op.Unsqueeze(residues, [0, 2, 3, 4])
    x = op.Unsqueeze(counted(columns) * stride, [0, 1, 2, 3]) + op.Unsqueeze(residues, [0, 1, 3, 4])
    row = op.Where(op.And(y >= zero, y < height), y * width, zero_pixel)
    column = op.Where(x < width, x, zero_pixel)
    shape = op.Concat(
        op.Constant(value_ints=[0]),
        op.Reshape(stride * stride, [1]),
        op.Constant(value_ints=[-1]),
        axis=0,
    )
    return op.Reshape(op.Min(row + column, zero_pixel), shape)


@onnxscript.script(_functions)
def band_indices(width, count, rows, columns, stride):  # noqa: ANN001, ANN201
    """(count * count, BLOCK * stride, width) indices into one block's products.

    The products are [residue of y][residue of x][row of f2][column of f2][row of f1][column of f1];
    f2 has one column more than f1, a zero one, for displacements that leave the image sideways.
    """
    zero = op.Constant(value_int=0)
    block = op.Constant(value_int=BLOCK)
    radius = count / op.Constant(value_int=2)
    wide = columns + op.Constant(value_int=1)
    pixels_of_f1 = columns * block
    y = op.Unsqueeze(counted(stride * block), [0, 1, 3])
    i = op.Unsqueeze(counted(count), [1, 2, 3])
    member = y / stride
    row = (y - member * stride) * stride * rows + member + i
    row_index = row * wide * pixels_of_f1 + member * columns

    x = op.Unsqueeze(counted(width), [0, 1, 2])
    j = op.Unsqueeze(counted(count), [0, 2, 3])
    column = x / stride
    other = column + j - radius
    inside = op.And(other >= zero, other < columns)
    reached = op.Where(inside, other, columns)
    plane = (x - column * stride) * rows * wide
    column_index = (plane + reached) * pixels_of_f1 + column
    shape = op.Concat(
        op.Reshape(count * count, [1]),
        op.Reshape(stride * block, [1]),
        op.Reshape(width, [1]),
        axis=0,
    )
    return op.Reshape(row_index + column_index, shape)


@onnxscript.script(_functions)
def correlation(f1, f2, max_displacement: int, stride_2: int):  # noqa: ANN001, ANN201
    """Meaning and shapes as in ``kernels.reference.correlation``; result in the type of f1."""
    one = op.Constant(value_int=1)
    block = op.Constant(value_int=BLOCK)
    stride = op.Constant(value_int=stride_2)
    radius = op.Constant(value_int=max_displacement) / stride
    count = radius + radius + one
    rows = radius + radius + block
    shape = op.Shape(f1)
    channels = op.Gather(shape, one)
    height = op.Gather(shape, op.Constant(value_int=2))
    width = op.Gather(shape, op.Constant(value_int=3))
    columns = (width + stride - one) / stride
    blocks = (height + stride * block - one) / (stride * block)

    zero = op.Constant(value_int=0)
    indices1 = pixel_indices(height, width, blocks, zero, block, columns, stride)
    indices2 = pixel_indices(height, width, blocks, op.Neg(radius), rows, columns + one, stride)
    first = op.Gather(pixels(f1) / op.Cast(channels, to=1), indices1, axis=1)
    second = op.Gather(pixels(f2), indices2, axis=1)
    products = op.MatMul(second, op.Transpose(first, perm=[0, 1, 2, 4, 3]))

    flat = op.Reshape(products, op.Constant(value_ints=[0, 0, -1]))
    band = op.Gather(flat, band_indices(width, count, rows, columns, stride), axis=2)
    joined_shape = op.Concat(
        op.Constant(value_ints=[0]),
        op.Reshape(count * count, [1]),
        op.Constant(value_ints=[-1]),
        op.Reshape(width, [1]),
        axis=0,
    )
    joined = op.Reshape(op.Transpose(band, perm=[0, 2, 1, 3, 4]), joined_shape)
    inside = op.Slice(joined, [0], op.Reshape(height, [1]), [2])
    return op.CastLike(inside, f1)


def translation_table() -> dict[Any, Any]:
    """For ``torch.onnx.export(..., custom_translation_table=...)``."""
    import torch

    import kernels.torch_op  # noqa: F401  registers flow::correlation

    return {torch.ops.flow.correlation.default: correlation}


def correlation_model(
    *,
    max_displacement: int,
    stride_2: int,
    shape: tuple[int | str, int | str, int | str, int | str] = ("N", "C", "H", "W"),
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """The operator alone: inputs f1, f2 and output ``correlation``; strings are dynamic sizes.

    Raises:
        CorrelationError: max_displacement is not a multiple of stride_2.
    """
    count = displacement_count(max_displacement, stride_2)
    node = helper.make_node(
        "correlation",
        ["f1", "f2"],
        ["correlation"],
        domain=DOMAIN,
        max_displacement=max_displacement,
        stride_2=stride_2,
    )
    batch, _, height, width = shape
    graph = helper.make_graph(
        [node],
        "correlation",
        [helper.make_tensor_value_info(name, dtype, shape) for name in ("f1", "f2")],
        [helper.make_tensor_value_info("correlation", dtype, [batch, count**2, height, width])],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        functions=[
            function.to_function_proto()
            for function in (pixels, counted, pixel_indices, band_indices, correlation)
        ],
        ir_version=10,
    )
    # OpenVINO does not read local functions.
    return onnx.inliner.inline_local_functions(model)
