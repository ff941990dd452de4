"""The network as it is deployed: raw images in, full-resolution flow in pixels out."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.data.pair import Pair
from engine.images import padded_size
from engine.types import Flow, Image
from training.networks import downsampling
from training.networks.upsampling import Upsampling, upsample_nearest, upsample_resize


class _Around(nn.Module):
    """A network with everything numerical around it, so that no runtime has to repeat it.

    Args:
        network: a network of `training.networks`; takes normalised (N, 3, H, W) images and
            returns flows, finest first, in pixels / ``flow_scale`` at 1 / ``output_stride``.
        normalisation: a module of `training.normalise`.
        bilinear: the implementation of bilinear upsampling to full resolution, for a network that
            needs it.
    """

    def __init__(
        self, network: nn.Module, normalisation: nn.Module, bilinear: Upsampling = upsample_resize
    ) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.divisor = cast(int, network.divisor)
        self.smallest = cast(int, network.smallest)
        self.flow_scale = cast(float, network.flow_scale)
        self.output_stride = cast(int, network.output_stride)
        self._upsampling = bilinear if network.interpolation == "bilinear" else upsample_nearest

    def _quartered(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Return the normalised pair at a quarter of its size, (N, 6, H / 4, W / 4)."""
        pixels = downsampling.quarter_pixels(image1, image2)
        return torch.cat(self.normalisation(*pixels.split(3, dim=1)), dim=1)

    def _in_pixels(self, flows: tuple[Tensor, ...]) -> Tensor:
        flow = flows[0] * self.flow_scale
        if self.output_stride == 1:
            return flow.permute(0, 2, 3, 1)
        return self._upsampling(flow, self.output_stride)


class Deployable(_Around):
    """The whole network."""

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Compute the flow from ``image1`` to ``image2``.

        Args:
            image1: first image, uint8 (N, H, W, 3) RGB; H and W multiples of ``divisor``.
            image2: second image, likewise.

        Returns:
            float32 (N, H, W, 2), x then y, pixels.
        """
        if self.network.reads_quartered:
            of_quartered = cast(Callable[..., tuple[Tensor, ...]], self.network.of_quartered)
            return self._in_pixels(of_quartered(self._quartered(image1, image2)))
        return self._in_pixels(self.network(*self.normalisation(planes(image1), planes(image2))))


class DeployableLastPass(_Around):
    """The last pass of a `CoarseToFineFlowNetS`, or of its `HalfNetwork`."""

    def forward(self, image1: Tensor, image2: Tensor, so_far: Tensor) -> tuple[Tensor, ...]:
        """Compute the flow as `Deployable` does, from the flow so far.

        Args:
            image1: as for `Deployable`.
            image2: likewise.
            so_far: what `DeployableCoarserPass` returns for half the size.

        Returns:
            The flow, and what the coarser passes read: the pair at 1/8 of the size, and so on.
        """
        sizes = cast(Callable[..., list[Tensor]], self.network.sizes)
        halved, *smaller = sizes(self._quartered(image1, image2))
        return self._in_pixels((_handed_on(self.network, halved, so_far),)), *smaller


class DeployableCoarserPass(nn.Module):
    """Any pass but the last of a `CoarseToFineFlowNetS`, or of its `HalfNetwork`."""

    divisor = 16

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, halved: Tensor, so_far: Tensor) -> Tensor:
        """Compute the flow that the next pass reads.

        Args:
            halved: the pair at half the pass's size, (N, 6, H / 2, W / 2), normalised; H and W
                multiples of ``divisor``.
            so_far: what this method returns for half the size, (N, 2, H / 8, W / 8).

        Returns:
            (N, 2, H / 4, W / 4) float32, in pixels of images of twice the size / ``flow_scale``.
        """
        return _handed_on(self.network, halved, so_far)


def _handed_on(network: nn.Module, halved: Tensor, so_far: Tensor) -> Tensor:
    """Return a pass's finest flow, in pixels of images of twice its size / ``flow_scale``."""
    one_pass = cast(Callable[..., tuple[Tensor, ...]], network.one_pass)
    return 2 * one_pass(halved, so_far)[0]


class DeployableFeatures(_Around):
    """The part of a `SiameseNetwork` that sees one image alone; so must the normalisation."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the network's own ``features`` of a uint8 image: skip and features, (N, H, W, C).

        Channels last is how the runtimes' convolutions have them: at the border between the two
        graphs OpenVINO then reorders nothing.
        """
        normalise = cast(Callable[[Tensor], Tensor], self.normalisation.alone)
        features = cast(Callable[[Tensor], tuple[Tensor, Tensor]], self.network.features)
        skip, maps = features(normalise(planes(image)))
        return skip.permute(0, 2, 3, 1), maps.permute(0, 2, 3, 1)


class DeployableMatch(_Around):
    """The rest of a `SiameseNetwork`: from two images' features to the flow."""

    def forward(self, skip: Tensor, features1: Tensor, features2: Tensor) -> Tensor:
        """Compute the flow as `Deployable` does, from the first image's skip and both features."""
        match = cast(Callable[..., tuple[Tensor, ...]], self.network.match)
        maps = (x.permute(0, 3, 1, 2) for x in (skip, features1, features2))
        return self._in_pixels(match(*maps))


def planes(image: Tensor) -> Tensor:
    """Return an image (N, H, W, 3) as float32 planes (N, 3, H, W)."""
    # TensorRT takes a uint8 input only straight into a Cast: cast first, each image by itself.
    return image.float().permute(0, 3, 1, 2)


def reference_flow(deployable: Deployable, pair: Pair) -> Flow:
    """Compute a pair's flow in PyTorch, at its own size: padded as by the engine, then cropped."""
    height, width = pair.size
    rows, columns = padded_size(height, width, deployable.divisor, deployable.smallest)
    bottom, right = rows - height, columns - width

    def padded(image: Image) -> torch.Tensor:
        planes = torch.tensor(image).permute(0, 3, 1, 2).float()
        planes = F.pad(planes, (0, right, 0, bottom), mode="replicate")
        return planes.permute(0, 2, 3, 1).to(torch.uint8)

    with torch.inference_mode():
        flow = deployable(padded(pair.image1), padded(pair.image2))
    return np.asarray(flow[:, :height, :width].numpy())
