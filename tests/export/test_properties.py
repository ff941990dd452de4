"""Properties in the manifest, against the layer tables of the papers."""

import pytest

from engine.bundle.manifest import Preprocessing, SizeProfile, read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from export.graph.deployable import Deployable
from export.graph.properties import operation_count, parameter_count, preprocessing_of
from training.networks import build_network
from training.normalise import Centred

# FlowNetS (arXiv 1504.06852, figure 2) after its first layer: kernel size, input and output
# channels in units of 64, and stride of the output with respect to the image.
CONVOLUTIONS = [
    (5, 1, 2, 4), (5, 2, 4, 8), (3, 4, 4, 8), (3, 4, 8, 16), (3, 8, 8, 16), (3, 8, 8, 32),
    (3, 8, 8, 32), (3, 8, 16, 64), (3, 16, 16, 64),
]  # fmt: skip
# Decoder levels: input channels in units of 64, channels of the coarser flow, stride, and output
# channels of the transposed convolution in units of 64.
LEVELS = [(16, 0, 64, 8), (16, 2, 32, 4), (12, 2, 16, 2), (6, 2, 8, 1), (3, 2, 4, None)]
# The pyramid network has no sixth level.
FIVE_LEVELS = [(8, 0, 32, 4), *LEVELS[2:]]


def flownets_operations(height, width, *, unit, convolutions=CONVOLUTIONS, levels=LEVELS):
    """Twice the multiply-adds; ``unit`` is 64 channels times the width of the network."""
    per_pixel = 7**2 * 6 * unit / 2**2  # conv1
    for kernel, inputs, outputs, stride in convolutions:
        per_pixel += kernel**2 * inputs * unit * outputs * unit / stride**2
    for inputs, flow, stride, outputs in levels:
        channels = inputs * unit + flow
        per_pixel += 3**2 * channels * 2 / stride**2  # predict_flow
        if outputs is not None:
            per_pixel += 4**2 * (channels * outputs * unit + 2 * 2) / stride**2  # deconv, upsampled
    return 2 * per_pixel * height * width


# Halving, grey images of half the size and their gradients, per pixel.
IMAGE_LAYERS = (2**2 * 6 * 6 + 6 * 2 + 5**2 * 2 * 4) / 2**2


def pyramid_operations(height, width, *, unit, steps):
    """FlowNetS on images of half the size, gradients at 1/2, refinements at 1/8 and 1/4."""
    small = flownets_operations(
        height / 2, width / 2, unit=unit, convolutions=CONVOLUTIONS[:-2], levels=FIVE_LEVELS
    )
    layers = 4**2 * 32 * 16 / 8**2
    for stride, hidden, repeated in zip((8, 4), (32, 16), steps, strict=True):
        layers += refinement_layers(unit, hidden, repeated) / stride**2
    return small + 2 * (IMAGE_LAYERS + layers) * height * width


def refinement_layers(unit, hidden, steps):
    """Per pixel of the flow; all but what reads the context is done in each step."""
    step = (5 + 2) * hidden + hidden * hidden + hidden * 2
    return 3**2 * (unit * hidden + steps * step)


def coarse_to_fine_operations(height, width, *, unit):
    """The pyramid at half the size, but one convolution takes the images to a quarter."""
    quarter, halve = 4**2 * 6 * 6 / 4**2, 2**2 * 6 * 6 / 4**2
    one_pass = pyramid_operations(height / 2, width / 2, unit=unit, steps=(4, 3))
    return one_pass + 2 * (quarter - halve) * height * width


@pytest.mark.parametrize(("name", "unit"), [("flownets", 64), ("flownets_slim", 24)])
def test_operations_of_flownets(name, unit):
    network = Deployable(build_network(name, seed=0), Centred()).eval()
    size = (1, 128, 192)
    count = operation_count(network, SizeProfile(size, size, size))
    assert (count.height, count.width) == (128, 192)
    assert count.gflop == pytest.approx(flownets_operations(128, 192, unit=unit) / 1e9, rel=1e-9)
    expected = flownets_operations(384, 512, unit=unit) / 1e9
    assert count.gflop_at(384, 512) == pytest.approx(expected, rel=1e-9)


def test_the_default_bundle_states_its_network():
    manifest = read_manifest(DEFAULT_BUNDLE)
    network = build_network(manifest.network, seed=0)
    assert manifest.parameters == parameter_count(network)
    assert manifest.preprocessing == Preprocessing("RGB", (0, 255), "centred", 40.0, "pixels")
    assert manifest.preprocessing == preprocessing_of(network, Centred())
    expected = coarse_to_fine_operations(384, 512, unit=24) / 1e9
    assert manifest.operations.gflop == pytest.approx(expected, rel=1e-9)
    assert (manifest.operations.height, manifest.operations.width) == (384, 512)


def test_parameters_of_flownets():
    """NVIDIA/flownet2-pytorch prints 38,676,504 for its FlowNet2S."""
    assert parameter_count(build_network("flownets", seed=0)) == pytest.approx(38_676_504, rel=1e-6)
