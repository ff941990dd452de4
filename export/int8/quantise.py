"""INT8 written into the graph as explicit quantisation: QuantizeLinear and DequantizeLinear.

The same file then serves ONNX Runtime, OpenVINO and TensorRT: activations are symmetric int8 per
tensor, weights symmetric per channel, biases stay float (TensorRT for RTX refuses int32 ones).
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

from export.int8.layers import CONVOLUTIONS, layer_of, without_layer
from export.int8.residual import write_residual_int8
from training.int8.weights import weight_ranges


def int8_from_fp32(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    in_float: Collection[str],
    residual: Collection[str] = (),
) -> onnx.ModelProto:
    """Quantise the convolutions of a graph.

    Args:
        model: an fp32 graph of `export.graph.onnx_from_torch`; not modified.
        ranges: by layer, of `QuantisationParameters`; for all layers but those in float.
        in_float: layers that stay in fp32; convolutions that are no layers always do.
        residual: layers whose output gets an int8 residual, see `export.int8.residual`.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    in_float = {*in_float, *without_layer(model)}
    rounded = write_residual_int8(result, residual, ranges, in_float)
    _guard_concatenations(result, in_float)
    _add_biases(result, in_float)
    convolutions = [node for node in result.graph.node if node.op_type in CONVOLUTIONS]
    chosen = {node.name for node in convolutions if layer_of(node) not in in_float}
    _clip_weights(result, [node for node in convolutions if node.name in chosen])
    limits = {
        node.input[0]: np.float32(ranges[layer_of(node)])
        for node in convolutions
        if node.name in chosen
    }
    quantizer = QDQQuantizer(
        result,
        per_channel=True,
        # 7-bit weights, -64 to 64: CPUs without VNNI sum two products of them in 16 bits.
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax, {name: (-limit, limit) for name, limit in limits.items()}
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in convolutions if node.name not in chosen],
        op_types_to_quantize=list(CONVOLUTIONS),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            # A LeakyReLU follows each convolution; the runtimes compute it in float.
            "OpTypesToExcludeOutputQuantization": list(CONVOLUTIONS),
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised: onnx.ModelProto = quantizer.model.model
    _bypass_quantisation(quantised, chosen, rounded)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _clip_weights(model: onnx.ModelProto, convolutions: Iterable[onnx.NodeProto]) -> None:
    """Clip weights to their ranges, in place; the quantizer takes the largest for the range."""
    axes = {node.input[1]: 0 if node.op_type == "Conv" else 1 for node in convolutions}
    for tensor in model.graph.initializer:
        if tensor.name in axes:
            weights = onnx.numpy_helper.to_array(tensor)
            limits = weight_ranges(torch.tensor(weights), axes[tensor.name]).numpy()
            clipped = np.clip(weights, -limits, limits)
            tensor.CopyFrom(onnx.numpy_helper.from_array(clipped, tensor.name))


def _bypass_quantisation(
    model: onnx.ModelProto, chosen: Collection[str], rounded: Collection[str]
) -> None:
    """Connect all but the chosen convolutions to the unrounded tensors, in place.

    The quantizer connects every consumer to the rounded tensor. A skip connection would then be
    rounded twice, and saturate at the range of another layer. Tensors in ``rounded`` stay.
    """
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.input}
    kinds = {node.output[0]: node.op_type for node in model.graph.node}
    for node in model.graph.node:
        if node.name in chosen:
            continue
        for index, name in enumerate(node.input):
            is_activation = kinds.get(name) == "DequantizeLinear" and sources[name] in sources
            if is_activation and name not in rounded:
                node.input[index] = sources[sources[name]]


def _guard_concatenations(model: onnx.ModelProto, in_float: Collection[str]) -> None:
    """Keep the quantisation of a Concat behind the Concat, in place.

    OpenVINO 2026.4.1 moves it to the Concat's inputs, and then computes a Conv (not a
    ConvTranspose) wrongly on CPUs without AMX. It does not move quantisation through a Max; this
    one changes no value.
    """
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    nodes = []
    for node in model.graph.node:
        guarded = (
            node.op_type == "Conv"
            and producers.get(node.input[0]) == "Concat"
            and layer_of(node) not in in_float
        )
        if guarded:
            source, name = node.input[0], f"{node.input[0]}.guarded"
            if name not in producers:  # another Conv may have the same input
                producers[name] = "Max"
                nodes.append(onnx.helper.make_node("Max", [source, "lowest"], [name], name))
            node.input[0] = name
        nodes.append(node)
    if len(nodes) > len(model.graph.node):
        lowest = np.array(np.finfo(np.float32).min)
        model.graph.initializer.append(onnx.numpy_helper.from_array(lowest, "lowest"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _add_biases(model: onnx.ModelProto, in_float: Collection[str]) -> None:
    """Add a bias that changes no value to transposed convolutions without one, in place.

    With dynamic sizes, on CPUs with AVX512-BF16 and without AMX, OpenVINO 2026.4.1 computes some of
    them wrongly, off by the scale of their weights. It would remove a bias of zeros.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if (
            node.op_type == "ConvTranspose"
            and len(node.input) == 2
            and layer_of(node) not in in_float
        ):
            name = f"{node.name}.bias"
            bias = np.full(weights[node.input[1]].dims[1], 1e-30, np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(bias, name))
            node.input.append(name)
