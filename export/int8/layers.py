"""Layers of a network in its ONNX graph."""

import re

import onnx

CONVOLUTIONS = ("Conv", "ConvTranspose")


def layer_of(convolution: onnx.NodeProto) -> str:
    """Return the name of the network's module that a convolution has its weight from.

    In a siamese network two convolutions have the same layer.
    """
    # "network.conv1.0.weight" is the weight of the convolution in the module conv1.
    return re.sub(r"^network\.|(\.0)?\.weight$", "", convolution.input[1])


def without_layer(model: onnx.ModelProto) -> set[str]:
    """Return what `layer_of` calls convolutions with constants of no layer, as of gradients."""
    return {
        layer_of(node)
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS and not node.input[1].endswith(".weight")
    }
