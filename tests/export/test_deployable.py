from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch
from tests.export.runtimes import RUNTIMES, Runner, random_images
from training.normalise import FixedMean, PairMean


class StubNetwork(nn.Module):
    """Returns a flow that is given, and remembers what it was fed."""

    divisor = smallest = 64
    interpolation = "bilinear"
    output_stride = 4
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
