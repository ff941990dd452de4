"""int8's rounding in a network's forward pass: trained with it, a network loses little to int8.

Quantisation-aware training (Jacob et al., arXiv 1712.05877). With a scale per channel, rounding the
weights disturbs a layer by a fiftieth of what rounding the activations does, but always alike: of
what int8 added to the end-point error of the pyramid, trained without, it was about half (by hand).
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from training.int8.ranges import (
    FINE_STEPS,
    Equalisation,
    Observed,
    Read,
    divided,
    divisor_of,
    equalisation,
    sampling_step,
)
from training.networks.layers import FlowNetwork

# Of a layer's input, this many values are looked at.
_SAMPLES = 1 << 14
# Ranges are found on so many batches at once: what the largest motion needs is in few pairs.
_BATCHES = 4
# And they are means over so many observations, of which the last is deployed: else they would hang
# on which pairs came last.
_OBSERVATIONS = 25


class Int8Rounding:
    """Rounds what enters convolutions as in a deployed network, which then has the same scales.

    Args:
        network: says which convolutions there are, which of them stay in float, and of which the
            channels are equalised; nothing is attached to it yet.

    Attributes:
        equalisation: what it rounds by, None before anything was observed.
        observations: how many times it has observed.
    """

    def __init__(self, network: FlowNetwork) -> None:
        self.equalisation: Equalisation | None = None
        self.observations = 0
        self._seen: deque[dict[str, Observed]] = deque(maxlen=_BATCHES)
        self._divisors: dict[str, Tensor] = {}
        self._scales: dict[str, Tensor] = {}
        self._limits: dict[str, Tensor] = {}
        convolutions = _convolutions(network)
        self._channels: dict[str, int] = {
            name: convolutions[name].in_channels  # type: ignore[misc]
            for name in layers_for_int8(network)
        }
        self._joined, self._wide = network.joined_layers, network.wide_layers
        self._equal = network.equalised_layers
        self._readers = readers_in(network)
        self._device = next(network.parameters()).device
        for source in network.fine_layers:
            for read in self._readers[source]:
                self._read_in_two_digits(read)

    def _read_in_two_digits(self, read: Read) -> None:
        """Let codes of these channels have steps of the second digit, and its range as well."""
        if read.reader in self._channels:
            channels = self._channels[read.reader]
            limit = self._limits.setdefault(
                read.reader, torch.full((1, channels, 1, 1), 127.0, device=self._device)
            )
            limit[:, read.channels] = 127 * (FINE_STEPS + 1)

    def go_on_from(self, equalisation: Equalisation, observations: int | None = None) -> None:
        """Round by what was found before, a mean over so many observations; None: over enough."""
        self.equalisation = equalisation
        self.observations = _OBSERVATIONS if observations is None else observations
        self._scale(equalisation)

    def observe(self, network: nn.Module, image1: Tensor, image2: Tensor) -> None:
        """Let the ranges follow what a batch of normalised images (N, 3, H, W) needs."""
        seen: dict[str, list[Observed]] = defaultdict(list)

        def look(name: str, values: Tensor) -> None:
            flat = values.detach().float().transpose(0, 1).flatten(1)
            sample = flat[:, :: sampling_step(flat.numel(), _SAMPLES, values.shape[-1])]
            largest = flat.abs().amax(1)
            seen[name].append(Observed(sample.cpu().numpy(), largest.cpu().numpy()))

        with torch.no_grad(), _watched(network, look):
            network(image1, image2)
        # A layer that sees each image by itself is called once for each.
        observed = {name: Observed.together(parts) for name, parts in seen.items()}
        self._seen.append(observed)
        together = {name: Observed.together([it[name] for it in self._seen]) for name in observed}
        chosen = equalisation(
            self._readers, together, layers=self._equal, joined=self._joined, wide=self._wide
        )
        ranges = {name: chosen.ranges[name] for name in self._channels}
        chosen = Equalisation(chosen.factors, ranges)
        self.observations += 1
        share = 1 / min(self.observations, _OBSERVATIONS)
        self.equalisation = (self.equalisation or chosen).towards(chosen, share)
        self._scale(self.equalisation)

    def _scale(self, equalisation: Equalisation) -> None:
        for name, channels in self._channels.items():
            divisor = torch.from_numpy(
                divisor_of(name, channels, self._readers, equalisation.factors)
            ).to(self._device)
            self._divisors[name] = divisor
            scale = divisor.reshape(1, -1, 1, 1) * (equalisation.ranges[name] / 127)
            if name in self._limits:
                scale = torch.where(self._limits[name] > 127, scale / FINE_STEPS, scale)
            # In place: the rounding keeps hold of the tensor.
            self._scales.setdefault(name, scale.clone()).copy_(scale)

    def attach(self, network: nn.Module) -> ExitStack:
        """Round activations in this network from now on, until what is returned is closed.

        Raises:
            ValueError: nothing was observed yet.
        """
        self._check_observed()
        layers = _convolutions(network)
        hooks = ExitStack()
        for name in self._channels:
            hook = layers[name].register_forward_pre_hook(
                _Rounding(self._scales[name], self._limits.get(name))
            )
            hooks.callback(hook.remove)
        return hooks

    @contextmanager
    def rounded_weights(self, network: nn.Module) -> Iterator[None]:
        """Give this network the weights that a deployed one has, until the context ends.

        Gradients that are computed inside belong to the unrounded weights as well as to these (the
        straight-through estimator).

        Raises:
            ValueError: nothing was observed yet.
        """
        self._check_observed()
        layers = _convolutions(network)
        kept: list[tuple[Tensor, Tensor]] = []
        for name in self._channels:
            weight: Tensor = layers[name].weight.data  # type: ignore[assignment]
            kept.append((weight, weight.clone()))
            weight.copy_(_rounded_weight(layers[name], self._divisors[name]))
        try:
            yield
        finally:
            for weight, original in kept:
                weight.copy_(original)

    def _check_observed(self) -> None:
        if self.equalisation is None:
            raise ValueError("there are no ranges to round by; observe a batch first")


def _rounded_weight(layer: nn.Module, divisor: Tensor) -> Tensor:
    """A convolution's weight in 255 steps per output channel, its inputs divided by ``divisor``."""
    weight: Tensor = layer.weight.data  # type: ignore[assignment]
    # (out, in, H, W) of a Conv2d, (in, out, H, W) of a ConvTranspose2d.
    transposed = isinstance(layer, nn.ConvTranspose2d)
    divisor = divisor.reshape((-1, 1, 1, 1) if transposed else (1, -1, 1, 1))
    weight = weight * divisor
    largest = weight.abs().amax((0, 2, 3) if transposed else (1, 2, 3), keepdim=True)
    step = (largest / 127).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight / step).round_().mul_(step).div_(divisor)


def check_equalisation(network: FlowNetwork, equalisation: Equalisation) -> None:
    """Make sure that it is this network's.

    Raises:
        ValueError: it is of other layers.
    """
    layers, found = _convolutions(network), equalisation.factors
    expected = divided(readers_in(network), network.equalised_layers)
    wrong = list(equalisation.ranges.keys() ^ {*layers_for_int8(network)})
    wrong += found.keys() ^ {*expected}
    wrong += [
        name for name in found.keys() & {*expected} if len(found[name]) != layers[name].out_channels
    ]
    if wrong:
        raise ValueError(
            f"these ranges for int8 are of other layers than the network's: {len(wrong)} differ, "
            f"such as {', '.join(sorted(wrong)[:3])}; train it with --int8 again"
        )


def layers_for_int8(network: FlowNetwork) -> list[str]:
    """Return the names of all convolutions but those that stay in float."""
    return [name for name in _convolutions(network) if name not in network.float_layers]


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
    def __init__(self, scale: Tensor, limit: Tensor | None) -> None:
        self.scale, self.limit = scale, limit

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        return (_Rounded.apply(inputs[0], self.scale, self.limit),)


class _Rounded(torch.autograd.Function):
    """Multiples of a scale, at most 127 of them; no gradient passes where there are so many.

    ``limit`` has another number for each channel, or is None.

    In the type that comes, mostly training's bfloat16: torch.fake_quantize_per_tensor_affine, which
    wants float32 to be fast, takes a CPU three times as long.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, limit: Tensor | None) -> Tensor:
        scale = scale.to(values.dtype)  # else a scale by channel would make float32 of everything
        codes = (values * scale.reciprocal()).round_()
        if limit is None:
            codes.clamp_(-127, 127)
        else:
            limit = limit.to(values.dtype)
            codes = codes.clamp(-limit, limit)
        ctx.save_for_backward(codes, limit)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        codes, limit = ctx.saved_tensors
        if limit is not None:
            return gradient * (codes.abs() < limit), None, None
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, codes, -126.5, 126.5)
        return passed, None, None
