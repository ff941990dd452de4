"""A tiny network whose flow has a closed form: numpy function, ONNX graphs and manifest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.bundle.manifest import (
    BundleFile,
    Manifest,
    OperationCount,
    Precision,
    SizeProfile,
    WeightsOrigin,
)
from engine.bundle.schema1 import role_of

DIVISOR = 64

# flow = (image1, image2) @ WEIGHTS + BIAS, plus the mean of that over each 64x64 block. All rows
# differ, which reveals swapped images, channels or axes and wrong padding. Small multiples of 1/64
# make even the sum over a block exact in float32, in any order.
WEIGHTS = np.array([[1, 2], [-3, 1], [2, 4], [-2, -1], [1, -2], [4, 3]], np.float32) / np.float32(
    64
)
BIAS = np.array([0.5, -1.5], np.float32)


def affine_flow(image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the tiny network's flow in numpy, with replicate padding.

    (H, W, 3) or (N, H, W, 3) uint8 twice -> (H, W, 2) or (N, H, W, 2) pixels.
    """
    if image1.ndim == 4:
        return np.stack([affine_flow(*pair) for pair in zip(image1, image2, strict=True)])
    height, width = image1.shape[:2]
    both = np.concatenate([image1, image2], axis=-1).astype(np.float64)
    both = np.pad(both, [(0, -height % DIVISOR), (0, -width % DIVISOR), (0, 0)], mode="edge")
    flow = both @ WEIGHTS.astype(np.float64) + BIAS
    rows, columns = flow.shape[0] // DIVISOR, flow.shape[1] // DIVISOR
    blocks = flow.reshape(rows, DIVISOR, columns, DIVISOR, 2).mean(axis=(1, 3))
    flow += blocks.repeat(DIVISOR, axis=0).repeat(DIVISOR, axis=1)
    return flow[:height, :width]


def tiny_model() -> onnx.ModelProto:
    """Return ``affine_flow`` as one graph; as a real network, it requires padded sizes."""
    nodes = [
        *_planes_of("image1", "planes1"),
        *_planes_of("image2", "planes2"),
        helper.make_node("Concat", ["planes1", "planes2"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "weights", "bias"], ["pixels"]),
        *_WITH_BLOCK_MEANS,
    ]
    constants = {"weights": _kernel(WEIGHTS), "bias": BIAS, "scales": _SCALES}
    return _model(nodes, [_image("image1"), _image("image2")], [_FLOW], constants)


def tiny_int8_model(largest: int) -> onnx.ModelProto:
    """Return ``tiny_model`` in int8: exact for images of even values.

    Args:
        largest: largest weight, a multiple of 4.
    """
    model = tiny_model()
    scales = {"images_scale": np.float32(2), "weights_scale": np.float32(1 / 16 / largest)}
    codes = np.rint(_kernel(WEIGHTS) / scales["weights_scale"])
    constants = {
        **scales,
        "lowest": np.finfo(np.float32).min,
        "images_zero": np.int8(0),
        "codes": codes.astype(np.int8),
        "weights_zero": np.int8(0),
    }
    images, weights = (["images_scale", "images_zero"], ["weights_scale", "weights_zero"])
    rounding = [
        # As the export does (`_guard_concatenations` in export/int8/quantise.py).
        helper.make_node("Max", ["both", "lowest"], ["guarded"]),
        helper.make_node("QuantizeLinear", ["guarded", *images], ["image_codes"]),
        helper.make_node("DequantizeLinear", ["image_codes", *images], ["rounded"]),
        helper.make_node("DequantizeLinear", ["codes", *weights], ["weights"]),
    ]
    graph = model.graph
    (index,) = (i for i, node in enumerate(graph.node) if node.op_type == "Conv")
    graph.node[index].input[0] = "rounded"
    nodes = [*graph.node[:index], *rounding, *graph.node[index:]]
    del graph.node[:]
    graph.node.extend(nodes)
    (float_weights,) = (tensor for tensor in graph.initializer if tensor.name == "weights")
    graph.initializer.remove(float_weights)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def tiny_split_models() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return ``affine_flow`` as two graphs: features of one image, and the rest."""
    first, second = _kernel(WEIGHTS[:3] / 2), _kernel(WEIGHTS[3:])
    skip = _floats("skip", ["N", 2, "H", "W"])
    alone = [
        *_planes_of("image", "features"),
        helper.make_node("Conv", ["features", "first", "bias"], ["skip"]),
    ]
    match = [
        helper.make_node("Conv", ["features1", "first"], ["other_half"]),
        helper.make_node("Conv", ["features2", "second"], ["from_second"]),
        helper.make_node("Sum", ["skip", "other_half", "from_second"], ["pixels"]),
        *_WITH_BLOCK_MEANS,
    ]
    planes = [_floats(name, ["N", 3, "H", "W"]) for name in ("features", "features1", "features2")]
    return (
        _model(alone, [_image("image")], [skip, planes[0]], {"first": first, "bias": BIAS}),
        _model(
            match,
            [skip, *planes[1:]],
            [_FLOW],
            {"first": first, "second": second, "scales": _SCALES},
        ),
    )


def _planes_of(image: str, planes: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [image], [f"float_{image}"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [f"float_{image}"], [planes], perm=[0, 3, 1, 2]),
    ]


_WITH_BLOCK_MEANS = [
    helper.make_node("AveragePool", ["pixels"], ["means"], kernel_shape=[64, 64], strides=[64, 64]),
    helper.make_node(
        "Resize",
        ["means", "", "scales"],
        ["blocks"],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    helper.make_node("Add", ["pixels", "blocks"], ["sum"]),
    helper.make_node("Transpose", ["sum"], ["flow"], perm=[0, 2, 3, 1]),
]
_SCALES = np.array([1, 1, 64, 64], np.float32)


def _floats(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _image(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", "H", "W", 3])


_FLOW = _floats("flow", ["N", "H", "W", 2])


def _kernel(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return weights.T.reshape(*weights.T.shape, 1, 1).copy()


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[np.float32]],
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def manifest_for(bundle: Path, precision: Precision = "fp32") -> Manifest:
    """Return a manifest of the model files in ``bundle``."""
    files = {
        path.name: BundleFile.of(
            path, role=role_of(path.name), precision=precision, tool=f"onnx {onnx.__version__}"
        )
        for path in sorted(bundle.glob("*.*"))
    }
    return Manifest(
        network="tiny",
        precision=precision,
        parameters=14,
        operations=OperationCount(2 * 12 * 128 * 192 / 1e9, 128, 192),
        layout="NHWC",
        divisor=DIVISOR,
        profile=SizeProfile((1, 64, 64), (1, 128, 192), (4, 256, 320)),
        files=files,
        parity=(),
        gate=None,
        weights=WeightsOrigin("0" * 64, "closed form", "MIT", {}),
    )


def in_precision(manifest: Manifest, precision: Precision) -> Manifest:
    """Return a manifest that states another precision, of all its files."""
    files = {name: replace(file, precision=precision) for name, file in manifest.files.items()}
    return replace(manifest, precision=precision, files=files)
