"""int8's rounding in a network's forward pass: trained with it, a network loses little to int8.

Quantisation-aware training (Jacob et al., arXiv 1712.05877), of the activations only: with a scale
per channel the weights are to blame for a fiftieth of the disturbance.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from training.equalisation import Observed, Read, equalisation
from training.networks.layers import FlowNetwork

# Of a layer's input, this many values are looked at.
_SAMPLES = 1 << 14
# Of the ranges, what one observation replaces.
_MOMENTUM = 0.2


class Int8Rounding:
    """Rounds what enters convolutions, at the scales of a deployed network, but for upsampled flow.

    Layers that a deployment leaves in float (`export.spec`) are rounded too.

    Args:
        network: says which convolutions there are, and of which the channels are equalised; nothing
            is attached to it yet.
    """

    def __init__(self, network: FlowNetwork) -> None:
        self._scales: dict[str, Tensor] = {}
        self._rounded = [
            name
            for name, layer in _convolutions(network).items()
            if layer.in_channels > 2  # type: ignore[operator]
        ]
        self._joined = network.joined_layers
        self._equal = {*network.joined_layers, *network.equalised_layers}
        self._readers = readers_in(network)

    def observe(self, network: nn.Module, image1: Tensor, image2: Tensor) -> None:
        """Let the ranges follow what a batch of normalised images needs."""
        observed: dict[str, Observed] = {}

        def look(name: str, values: Tensor) -> None:
            flat = values.detach().float().transpose(0, 1).flatten(1)
            # An odd step does not walk down a column of a map.
            sample = flat[:, :: max(1, flat.numel() // _SAMPLES) | 1]
            observed[name] = Observed(sample.cpu().numpy(), flat.abs().amax(1).cpu().numpy())

        with torch.no_grad(), _watched(network, look):
            network(image1, image2)
        chosen = equalisation(self._readers, observed, layers=self._equal, joined=self._joined)
        for name in self._rounded:
            divisor = torch.from_numpy(chosen.divisors[name]).to(image1.device)
            scale = divisor.reshape(1, -1, 1, 1) * (chosen.ranges[name] / 127)
            # In place: the rounding keeps hold of the tensor.
            self._scales.setdefault(name, scale.clone()).lerp_(scale, _MOMENTUM)

    def attach(self, network: nn.Module) -> ExitStack:
        """Round in this network from now on, until what is returned is closed."""
        layers = _convolutions(network)
        hooks = ExitStack()
        for name in self._rounded:
            hook = layers[name].register_forward_pre_hook(_Rounding(self._scales[name]))
            hooks.callback(hook.remove)
        return hooks


def _convolutions(network: nn.Module) -> dict[str, nn.Module]:
    """All of a network's, by the name of the layer that each is alone or first in."""
    return {
        name.removesuffix(".0"): module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    }


@contextmanager
def _watched(network: nn.Module, look: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show ``look`` what enters each convolution, before it is rounded where it is."""
    with ExitStack() as hooks:
        for name, layer in _convolutions(network).items():

            def show(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                look(name, inputs[0])

            hooks.callback(layer.register_forward_pre_hook(show, prepend=True).remove)
        yield


def readers_in(network: FlowNetwork) -> dict[str, list[Read]]:
    """Find out which convolutions read which others' outputs, by layer that is read.

    Every channel of their outputs is given a number of its own, everywhere, with a half, which
    LeakyReLU and joining pass on, and a sum of two has not.
    """
    numbers: dict[float, tuple[str, int]] = {}
    readers: dict[str, list[Read]] = defaultdict(list)

    def find(reader: str, values: Tensor) -> None:
        found = (numbers.get(number, ("", 0)) for number in values[0, :, 0, 0].tolist())
        # A source's channels come one after the other.
        for source, channels in groupby(enumerate(found), key=lambda item: item[1][0]):
            indices = [index for index, _ in channels]
            if source:
                readers[source].append(Read(reader, slice(indices[0], indices[-1] + 1)))

    with torch.no_grad(), ExitStack() as hooks, _watched(network, find):
        for name, layer in _convolutions(network).items():
            own = len(numbers) + 0.5 + torch.arange(layer.out_channels)  # type: ignore[call-overload]
            numbers |= {number: (name, index) for index, number in enumerate(own.tolist())}

            def replace(_: nn.Module, __: Any, output: Tensor, own: Tensor = own) -> Tensor:
                return own.to(output)[:, None, None].expand_as(output)

            hooks.callback(layer.register_forward_hook(replace).remove)
        image = next(network.parameters()).new_zeros(1, 3, network.divisor, network.divisor)
        network(image, image)
    return dict(readers)


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
