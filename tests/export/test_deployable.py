from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.graph.deployable import (
    Deployable,
    DeployableCoarserPass,
    DeployableLastPass,
    planes,
)
from export.graph.onnx_from_torch import onnx_from_torch
from tests.export.runtimes import RUNTIMES, Runner, random_images
from training.networks import build_network
from training.networks.coarse_to_fine import CoarseToFineFlowNetS
from training.networks.upsampling import upsample_resize
from training.normalise import FixedMean, PairMean


class StubNetwork(nn.Module):
    """Returns a flow that is given, and remembers what it was fed."""

    divisor = smallest = 64
    interpolation = "bilinear"
    output_stride = 4
    reads_quartered = False
    flow_scale = 20.0

    def __init__(self, flow: Tensor) -> None:
        super().__init__()
        self.flow = flow
        self.images: tuple[Tensor, ...] = ()

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        self.images = (image1, image2)
        return (self.flow, self.flow[..., ::2, ::2])


def test_flow_is_scaled_and_interpolated_between_half_pixel_centres() -> None:
    height, width = 64, 128
    # A coarse pixel's centre lies 1.5 pixels right of the left-most of the 4 that it covers.
    x = torch.arange(width // 4) * 4 + 1.5
    y = torch.arange(height // 4) * 4 + 1.5
    coarse = torch.stack(torch.broadcast_tensors(x[None, :], 2 * y[:, None]))[None] / 20
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8)

    flow = Deployable(StubNetwork(coarse), FixedMean())(image, image)

    assert flow.shape == (1, height, width, 2)
    assert flow.dtype == torch.float32
    inner = flow[0, 2:-2, 2:-2]
    expected_x = torch.arange(2.0, width - 2).expand(height - 4, -1)
    expected_y = 2 * torch.arange(2.0, height - 2)[:, None].expand(-1, width - 4)
    torch.testing.assert_close(inner, torch.stack((expected_x, expected_y), dim=-1))


def test_passes_one_by_one_are_the_whole_network() -> None:
    network = build_network("coarse_to_fine_slim", seed=0).eval()
    assert isinstance(network, CoarseToFineFlowNetS)
    network.passes = 3
    images = torch.randint(0, 256, (2, 1, 128, 128, 3), dtype=torch.uint8)
    last, coarser = DeployableLastPass(network, FixedMean()), DeployableCoarserPass(network)
    with torch.no_grad():
        expected = Deployable(network, FixedMean())(*images)
        _, *halved = last(*images, torch.zeros(1, 2, 8, 8))
        so_far = torch.zeros(1, 2, 2, 2)
        for pair in reversed(halved):
            so_far = coarser(pair, so_far)
        flow, *_ = last(*images, so_far)
    torch.testing.assert_close(flow, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(flow, last(*images, torch.zeros(1, 2, 8, 8))[0], atol=1e-3)


@pytest.mark.parametrize("normalisation", [FixedMean(), PairMean()])
def test_a_network_that_reads_small_images_gets_their_means(normalisation: nn.Module) -> None:
    """The same flow as from normalised images of the whole size."""
    network = build_network("coarse_to_fine_slim", seed=0).eval()
    images = torch.randint(0, 256, (2, 1, 64, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        flow = Deployable(network, normalisation)(*images)
        whole = network(*normalisation(*map(planes, images)))[0] * network.flow_scale
    assert flow.abs().max() > 0.01
    torch.testing.assert_close(flow, upsample_resize(whole, 8), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("normalisation", [FixedMean(), PairMean()])
def test_the_network_sees_normalised_planes_in_rgb_order(normalisation: nn.Module) -> None:
    network = StubNetwork(torch.zeros(1, 2, 16, 16))
    red, blue = torch.zeros(2, 1, 64, 64, 3, dtype=torch.uint8)
    red[..., 0] = 255
    blue[..., 2] = 255

    Deployable(network, normalisation)(red, blue)

    planes = [image.permute(0, 3, 1, 2).float() for image in (red, blue)]
    for seen, expected in zip(network.images, normalisation(*planes), strict=True):
        assert seen.shape == (1, 3, 64, 64)
        torch.testing.assert_close(seen, expected)
    first, second = (image.mean(dim=(0, 2, 3)) for image in network.images)
    torch.testing.assert_close(first - second, torch.tensor([1.0, 0.0, -1.0]))


class FirstImage(nn.Module):
    """The first two channels of the first image, normalised, as the flow in full size."""

    divisor = smallest = 64
    interpolation = "bilinear"
    output_stride = 1
    reads_quartered = False
    flow_scale = 255.0

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        return (image1[:, :2] + 0 * image2[:, :2],)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes_find_the_mean_colour_of_large_images(runtime: Callable[..., Runner]) -> None:
    model = onnx_from_torch(Deployable(FirstImage(), PairMean()), metadata={})
    images = random_images(1, 1088, 1920)
    mean = np.mean(images, axis=(0, 1, 2, 3), dtype=np.float64)
    flow = runtime(model)(*images)
    np.testing.assert_allclose(flow, (images[0] - mean)[..., :2], rtol=0, atol=5e-4)
