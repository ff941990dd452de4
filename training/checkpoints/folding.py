"""Differences between code bases that the weights can absorb, exactly up to rounding."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from training.checkpoints.layout import Origin, Origins, Shape

# By input channels of a network's first convolution: which of them are images. In order: one
# image; two; image 1 and flows and errors, in the fusion; images 1, 2 and the warped image 2.
_IMAGES = {3: 1, 6: 2, 11: 1, 12: 3}
_FIRST = ("conv0.0.weight", "conv1.0.weight", "fnet.conv1.weight", "cnet.conv1.weight")
# nn.BatchNorm2d's; no code base has another.
_EPSILON = 1e-5


def rgb_from_bgr(origins: Origins) -> Origins:
    """Swap the colour channels of the first convolutions, so that they read RGB images."""
    return origins | {
        name: then(origin, _swap_colours, "first convolutions: BGR to RGB")
        for name, origin in origins.items()
        if name.endswith(_FIRST) and next(iter(origin.tensors.values()))[1] in _IMAGES
    }


def _swap_colours(weight: Tensor) -> Tensor:
    images = _IMAGES[weight.shape[1]]
    order = [3 * image + colour for image in range(images) for colour in (2, 1, 0)]
    return weight[:, [*order, *range(3 * images, weight.shape[1])]]


def scaled(origin: Origin, factor: float, rule: str, start: int = 0) -> Origin:
    """Multiply a tensor, from an input channel ``start`` on if it is a weight."""

    def multiply(tensor: Tensor) -> Tensor:
        if not start:
            return tensor * factor
        return torch.cat((tensor[:, :start], tensor[:, start:] * factor), dim=1)

    return then(origin, multiply, rule)


def in_other_pixels(origins: Origins, found: float, expected: float) -> Origins:
    """Rescale flow heads, from pixels / ``found`` to pixels / ``expected``, in a FlowNet.

    What the upsampling layers make of their flow stays the same.
    """
    rule = (
        f"flow: pixels / {found:g} there, pixels / {expected:g} here; heads and upsampling scaled"
    )
    factors = {"predict_flow": found / expected, "upsampled_flow": expected / found}
    return origins | {
        name: scaled(origin, factor, rule)
        for name, origin in origins.items()
        for layer, factor in factors.items()
        if layer in name and origin.tensors and not (layer == "upsampled_flow" and "bias" in name)
    }


def then(origin: Origin, step: Callable[[Tensor], Tensor], rule: str) -> Origin:
    """Apply a further step to what an origin computes."""
    compute = origin.compute
    rules = f"{origin.rule}; {rule}" if origin.rule else rule
    return replace(origin, compute=lambda *tensors: step(compute(*tensors)), rule=rules)


def without_batch_norm(convolution: str, norm: str, shape: Shape) -> Origins:
    """Fold a batch normalisation, in evaluation mode, into the bias-free convolution before it.

    Args:
        convolution: name of the convolution, here and in the file, for example "conv1.0".
        norm: name of the normalisation in the file, for example "conv1.1".
        shape: of the convolution's weight.
    """
    rule = "batch normalisation: folded into the convolution before it"
    channels = shape[:1]
    statistics = {
        f"{norm}.weight": channels, f"{norm}.running_var": channels
    }  # fmt: skip
    more = {f"{norm}.bias": channels, f"{norm}.running_mean": channels}
    weight = f"{convolution}.weight"
    return {
        weight: Origin({weight: shape, **statistics}, _folded_weight, rule),
        f"{convolution}.bias": Origin(statistics | more, _folded_bias, rule),
    }


def _folded_weight(weight: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    factor = gain.double() / (variance.double() + _EPSILON).sqrt()
    return (weight.double() * factor[:, None, None, None]).to(weight.dtype)


def _folded_bias(gain: Tensor, variance: Tensor, bias: Tensor, mean: Tensor) -> Tensor:
    factor = gain.double() / (variance.double() + _EPSILON).sqrt()
    return (bias.double() - mean.double() * factor).to(bias.dtype)
