"""How each family of checkpoints wants its images: part of the network, hence of the graph."""

import torch
from torch import Tensor, nn


class FixedMean(nn.Module):
    """x / 255 minus the mean colour of Flying Chairs (ClementPinard/FlowNetPytorch, main.py)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.432, 0.411])[:, None, None])

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise a pair of RGB images, each (N, 3, H, W) float in 0..255."""
        return self.alone(image1), self.alone(image2)

    def alone(self, image: Tensor) -> Tensor:
        """Normalise one image of a pair, whatever the other one is."""
        return image / 255 - self.mean


class Centred(FixedMean):
    """x / 255 - 1/2, in which int8, being symmetric, takes but two of the 256 values for one."""

    def __init__(self) -> None:
        super().__init__()
        self.mean.fill_(0.5)


class PairMean(nn.Module):
    """(x minus the pair's own mean colour) / 255 (NVIDIA/flownet2-pytorch, models.py)."""

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise a pair of RGB images, each (N, 3, H, W) float in 0..255."""
        # Both images have as many pixels, so the mean over both is the mean of the two means.
        mean = (image1.mean((2, 3), keepdim=True) + image2.mean((2, 3), keepdim=True)) / 2
        return (image1 - mean) / 255, (image2 - mean) / 255


NORMALISATIONS: dict[str, type[nn.Module]] = {
    "fixed_mean": FixedMean,
    "centred": Centred,
    "pair_mean": PairMean,
}
