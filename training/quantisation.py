"""int8's rounding in a network's forward pass: trained with it, a network loses little to int8.

Quantisation-aware training (Jacob et al., arXiv 1712.05877), of the activations only: with a scale
per channel the weights are to blame for a fiftieth of the disturbance.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.networks.layers import FlowNetwork

_SAMPLES = 1 << 14
# Of the ranges, what one observation replaces.
_MOMENTUM = 0.2
# Of the largest magnitude seen in what a decoder joins, what int8 has room for. It grows with the
# motion: 0.6 made that of larger motion small, 1.3 all steps coarser.
JOINED_SHARE = 0.8


def least_error_range(values: npt.NDArray[np.float32]) -> float:
    """Choose the magnitude for int8's 127 so that codes lie nearest to values, in the mean square.

    A wide range rounds all values more coarsely, a narrow one clips the large ones. (The mean of
    the pairs' maxima, which needs no search, clips what coarse levels say about large motion: 4 %
    of the end-point error on a pair with motion of 60 px.)
    """
    values = np.abs(values.ravel())
    top = float(values.max())
    if top == 0:
        return 1.0  # nothing ever passes here; any scale will do
    counts, edges = np.histogram(values, 2048, (0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    ranges = top * np.linspace(0.1, 1, 181)
    steps = ranges[:, None] / 127
    codes = np.minimum(np.rint(centres / steps), 127)
    return float(ranges[np.argmin(((centres - codes * steps) ** 2) @ counts)])


class Int8Rounding:
    """Rounds what enters a network's convolutions, but for the flow's own upsamplings.

    Args:
        network: says which convolutions there are, and of which the channels are equalised; nothing
            is attached to it yet.
    """

    def __init__(self, network: FlowNetwork) -> None:
        self._scales: dict[str, Tensor] = {}
        self._layers = [
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.in_channels > 2
        ]
        # By channel where `export.equalise` deploys them so.
        kinds = dict.fromkeys(network.equalised_layers, _scales_of_equalised)
        kinds |= dict.fromkeys(network.joined_layers, _scales_of_joined)
        self._observed = {
            name: kinds.get(name.partition(".")[0], _scale_of) for name in self._layers
        }

    def observe(self, network: nn.Module, image1: Tensor, image2: Tensor) -> None:
        """Let the ranges follow what a batch of normalised images needs."""
        with ExitStack() as stack, torch.no_grad():
            for name in self._layers:
                module = network.get_submodule(name)
                observer = _Observer(self._scales, name, self._observed[name])
                # In front of the rounding, where that is attached.
                hook = module.register_forward_pre_hook(observer, prepend=True)
                stack.callback(hook.remove)
            network(image1, image2)

    def attach(self, network: nn.Module) -> ExitStack:
        """Round in this network from now on, until what is returned is closed."""
        hooks = ExitStack()
        for name in self._layers:
            rounding = _Rounding(self._scales[name])
            hook = network.get_submodule(name).register_forward_pre_hook(rounding)
            hooks.callback(hook.remove)
        return hooks


def _scale_of(values: Tensor) -> Tensor:
    flat = values.flatten()
    # An odd step does not walk down a column of a map.
    flat = flat[:: max(1, flat.numel() // _SAMPLES) | 1]
    return values.new_tensor(least_error_range(flat.cpu().numpy()) / 127)


def _scales_of_equalised(values: Tensor) -> Tensor:
    roots = values.abs().amax((0, 2, 3), keepdim=True).clamp(min=1e-3).sqrt()
    return _scale_of(values / roots) * roots


def _scales_of_joined(values: Tensor) -> Tensor:
    largest = values.abs().amax((0, 2, 3), keepdim=True).clamp(min=1e-3)
    return (largest * largest.amax()).sqrt() * (JOINED_SHARE / 127)


class _Observer:
    def __init__(
        self, scales: dict[str, Tensor], name: str, observed: Callable[[Tensor], Tensor]
    ) -> None:
        self.scales, self.name, self.observed = scales, name, observed

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        scale = self.observed(inputs[0].detach().float())
        # In place: the rounding keeps hold of the tensor.
        self.scales.setdefault(self.name, scale.clone()).lerp_(scale, _MOMENTUM)


class _Rounding:
    def __init__(self, scale: Tensor) -> None:
        self.scale = scale

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        return (_Rounded.apply(inputs[0], self.scale),)


class _Rounded(torch.autograd.Function):
    """Multiples of a scale, at most 127 of them; no gradient passes where there are 127.

    In the type that comes, mostly training's bfloat16: torch.fake_quantize_per_tensor_affine, which
    wants float32 to be fast, takes a CPU three times as long.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor) -> Tensor:
        scale = scale.to(values.dtype)  # else a scale by channel would make float32 of everything
        codes = (values * scale.reciprocal()).round_().clamp_(-127, 127)
        ctx.save_for_backward(codes)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, codes, -126.5, 126.5)
        return passed, None
