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
