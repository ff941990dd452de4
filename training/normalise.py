"""Image normalisation of each checkpoint family; part of the exported graph."""

import torch
from torch import Tensor, nn


class ImageNormalisation(nn.Module):
    """Normalises each image of a pair independently of the other."""

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise a pair of RGB images, each (N, 3, H, W) float in 0..255."""
        return self.alone(image1), self.alone(image2)

    def alone(self, image: Tensor) -> Tensor:
        """Normalise one image."""
        raise NotImplementedError


class FixedMean(ImageNormalisation):
    """x / 255 minus the mean colour of Flying Chairs (ClementPinard/FlowNetPytorch, main.py)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.432, 0.411])[:, None, None])

    def alone(self, image: Tensor) -> Tensor:
        """Normalise one image."""
        return image / 255 - self.mean


class Centred(FixedMean):
    """x / 255 - 1/2, which symmetric int8 represents almost exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.mean.fill_(0.5)


class MinusOneToOne(ImageNormalisation):
    """2 (x / 255) - 1 (princeton-vl/RAFT, raft.py; torchvision's and mmflow's RAFT likewise)."""

    def alone(self, image: Tensor) -> Tensor:
        """Normalise one image."""
        return 2 * (image / 255) - 1


class ZeroToOne(ImageNormalisation):
    """x / 255 (the FlowNets of open-mmlab/mmflow)."""

    def alone(self, image: Tensor) -> Tensor:
        """Normalise one image."""
        return image / 255


class PairMean(nn.Module):
    """(x - mean colour of the pair) / 255 (NVIDIA/flownet2-pytorch, models.py)."""

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise a pair of RGB images, each (N, 3, H, W) float in 0..255."""
        # Both images have the same size: the mean over both is the mean of the two means.
        mean = (_mean_colour(image1) + _mean_colour(image2)) / 2
        return (image1 - mean) / 255, (image2 - mean) / 255


def _mean_colour(image: Tensor) -> Tensor:
    # Row by row: ONNX Runtime sums the pixels of an image with channels last one after another in
    # float32, and its mean of 512x768 pixels is off by 1e-3; by rows it is off by 4e-5.
    return image.mean(3, keepdim=True).mean(2, keepdim=True)


NORMALISATIONS: dict[str, type[nn.Module]] = {
    "fixed_mean": FixedMean,
    "centred": Centred,
    "pair_mean": PairMean,
    "minus_one_to_one": MinusOneToOne,
    "zero_to_one": ZeroToOne,
}
