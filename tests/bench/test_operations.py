"""Operations, against a layer table worked by hand, PyTorch's own layers, and single operators."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.operations import count_operations, operations_in, operations_of
from engine.bundle.manifest import read_manifest, write_manifest
from engine.errors import BackendError
from engine.loader import DEFAULT_BUNDLE

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

# FlowNetS (arXiv 1504.06852, figure 2) after its first layer: side of the kernel, by how much the
# output's sides are smaller than the image's, and inputs and outputs in units of 64 channels.
CONVOLUTIONS = [
    (5, 1, 2, 4), (5, 2, 4, 8), (3, 4, 4, 8), (3, 4, 8, 16), (3, 8, 8, 16), (3, 8, 8, 32),
    (3, 8, 8, 32), (3, 8, 16, 64), (3, 16, 16, 64),
]  # fmt: skip
# What each level of the decoder joins: units, channels of a flow besides, by how much its sides are
# smaller than the image's; and the units that its transposed convolution makes of it.
LEVELS = [(16, 0, 64, 8), (16, 2, 32, 4), (12, 2, 16, 2), (6, 2, 8, 1), (3, 2, 4, None)]


# Those of the pyramid, which has no sixth level.
FIVE_LEVELS = [(8, 0, 32, 4), *LEVELS[2:]]


def flownets_operations(height, width, *, unit, convolutions=CONVOLUTIONS, levels=LEVELS):
    """By hand; ``unit`` is 64 channels times the network's width."""
    per_pixel = 7**2 * 6 * unit / 2**2  # conv1
    for side, inputs, outputs, stride in convolutions:
        per_pixel += side**2 * inputs * unit * outputs * unit / stride**2
    for inputs, flow, stride, outputs in levels:
        channels = inputs * unit + flow
        per_pixel += 3**2 * channels * 2 / stride**2  # predict_flow
        if outputs is not None:
            per_pixel += 4**2 * (channels * outputs * unit + 2 * 2) / stride**2  # deconv, upsampled
    return 2 * per_pixel * height * width


def pyramid_operations(height, width, *, unit):
    """On images of half the size; 4 maps of both at 1/2, layers at 1/8 and at 1/4."""
    small = flownets_operations(
        height / 2, width / 2, unit=unit, convolutions=CONVOLUTIONS[:-2], levels=FIVE_LEVELS
    )
    images = (2**2 * 6 * 6 + 4**2 * 6 * 4) / 2**2
    layers = 3**2 * ((4 + 2 + unit) * 32 + 32 * 32 + 32 * 2) / 8**2
    layers += 4**2 * 32 * 16 / 8**2
    layers += 3**2 * ((4 + 2 + unit) * 16 + 16 * 16 + 16 * 2) / 4**2
    return small + 2 * (images + layers) * height * width


def test_the_default_bundle_by_hand():
    assert flownets_operations(384, 512, unit=64) == pytest.approx(31.6e9, rel=1e-3)
    expected = pyramid_operations(384, 512, unit=24)
    assert operations_of(DEFAULT_BUNDLE, height=384, width=512, batch=1) == expected
    # Padded to 128x192, and two pairs.
    expected = 2 * pyramid_operations(128, 192, unit=24)
    assert operations_of(DEFAULT_BUNDLE, height=65, width=130, batch=2) == expected


def test_the_layers_of_pytorch_agree():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from training.networks import build_network

    network, found = build_network(read_manifest(DEFAULT_BUNDLE).network, seed=0), []

    def note(layer, inputs, output):
        kernels = inputs[0] if isinstance(layer, torch.nn.ConvTranspose2d) else output
        found.append(kernels.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(note)
    with torch.no_grad():
        network(*torch.zeros(2, 1, 3, 64, 128))
    counted = operations_of(DEFAULT_BUNDLE, height=64, width=128, batch=1)
    assert counted == 2 * sum(found)


def model_of(operator, weights_shape, *, quantised=False, **attributes):
    """One operator on (2, 4, 10, 12), read by OpenVINO."""
    weights, nodes, constants = "weights", [], {}
    values = np.ones(weights_shape, np.float32)
    if quantised:
        values, weights = values.astype(np.int8), "float_weights"
        constants = {"scale": np.float32(0.5), "zero": np.int8(0)}
        nodes = [helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], [weights])]
    nodes.append(helper.make_node(operator, ["data", weights], ["result"], **attributes))
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [2, 4, 10, 12])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in {"weights": values, **constants}.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return openvino.Core().read_model(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "multiplications"),
    [
        # Outputs (2, 6, 5, 6), each of 4 x 3 x 3.
        (("Conv", (6, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}), 2 * 6 * 5 * 6 * 36),
        # Outputs (2, 6, 8, 10), each of 2 x 3 x 3.
        (("Conv", (6, 2, 3, 3), {"group": 2}), 2 * 6 * 8 * 10 * 18),
        # Inputs (2, 4, 10, 12), each times 5 x 4 x 4, or 3 x 4 x 4 of its group.
        (("ConvTranspose", (4, 5, 4, 4), {"strides": [2, 2]}), 2 * 4 * 10 * 12 * 80),
        (("ConvTranspose", (4, 3, 4, 4), {"group": 2}), 2 * 4 * 10 * 12 * 48),
        (("Conv", (6, 4, 1, 1), {"quantised": True}), 2 * 6 * 10 * 12 * 4),
        (("Mul", (1, 4, 1, 1), {}), 0),
    ],
)
def test_single_operators(model, multiplications):
    operator, weights_shape, attributes = model
    assert operations_in(model_of(operator, weights_shape, **attributes)) == 2 * multiplications


def test_two_graphs(tiny_bundle, tiny_split_bundle):
    size = {"height": 40, "width": 100, "batch": 1}
    # The tiny network is one convolution from six channels to two. In two graphs, one of three
    # channels for each image, and two in the second graph.
    pixels = 64 * 128
    assert operations_of(tiny_bundle, **size) == 2 * 12 * pixels
    assert operations_of(tiny_split_bundle, **size) == 2 * (2 * 6 + 2 * 6) * pixels


def test_in_a_process_of_its_own(tiny_bundle, tmp_path):
    size = {"height": 64, "width": 64, "batch": 3}
    assert count_operations(tiny_bundle, **size) == 3 * 2 * 12 * 64**2
    with pytest.raises(RuntimeError, match="nowhere is not a bundle"):
        count_operations(tmp_path / "nowhere", **size)


def test_what_cannot_be_counted(tiny_bundle, tmp_path, monkeypatch):
    size = {"height": 64, "width": 64, "batch": 1}
    bundle = tmp_path / "plan"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "model.onnx").rename(bundle / "model.plan")
    manifest = read_manifest(tiny_bundle)
    write_manifest(bundle, replace(manifest, files={"model.plan": manifest.files["model.onnx"]}))
    with pytest.raises(BackendError, match=r"plan has no model\.onnx, of which"):
        operations_of(bundle, **size)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="openvino is not installed: pip install"):
        operations_of(tiny_bundle, **size)
