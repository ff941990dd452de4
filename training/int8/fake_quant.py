"""Fake quantisation: int8 rounding of activations and weights in the forward pass.

Quantisation-aware training (Jacob et al., arXiv 1712.05877) with the parameters that export uses.
With per-channel scales, rounding the weights disturbs a layer by a fiftieth of what rounding the
activations does, but always in the same way: without training it was half of the end-point error
that int8 added to flownets_pyramid_slim (one-off measurement).
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from engine.system.cpu import SAFE_INT8_WEIGHT
from training.int8.observe import convolutions, observed_inputs, recorded_inputs
from training.int8.ranges import (
    RESIDUAL_STEPS,
    ActivationStatistics,
    Consumer,
    QuantisationParameters,
    choose_parameters,
    input_divisor,
)
from training.int8.weights import weight_ranges
from training.networks.entry import Int8Recipe
from training.networks.layers import FlowNetwork

_SAMPLES = 1 << 14  # values sampled from each layer's input
# Parameters are chosen on a window of batches: few pairs have the largest motion.
_WINDOW = 4
# They are a running mean over about this many observations, so that the parameters that are
# deployed do not depend on the last few batches.
_OBSERVATIONS = 25


class FakeQuantiser:
    """Rounds inputs and weights of a network's convolutions as the deployed int8 network does.

    Args:
        network: the network; nothing is attached to it yet.
        recipe: which layers stay in float, are scaled, or have a residual.

    Attributes:
        parameters: scaling factors and ranges in use; None before the first observation.
        observations: number of observations so far.
    """

    def __init__(self, network: FlowNetwork, recipe: Int8Recipe) -> None:
        self.parameters: QuantisationParameters | None = None
        self.observations = 0
        self._recipe = recipe
        self._window: deque[dict[str, ActivationStatistics]] = deque(maxlen=_WINDOW)
        self._divisors: dict[str, Tensor] = {}
        self._scales: dict[str, Tensor] = {}
        self._limits: dict[str, Tensor] = {}
        layers = convolutions(network)
        self._channels: dict[str, int] = {
            name: layers[name].in_channels  # type: ignore[misc]
            for name in layers_for_int8(network, recipe)
        }
        self._consumers = consumers_in(network)
        self._device = next(network.parameters()).device
        for source in recipe.residual_layers:
            for consumer in self._consumers[source]:
                self._add_residual(consumer)

    def _add_residual(self, consumer: Consumer) -> None:
        """Give these channels the step of the residual, and the range of both codes together."""
        if consumer.layer in self._channels:
            channels = self._channels[consumer.layer]
            limit = self._limits.setdefault(
                consumer.layer, torch.full((1, channels, 1, 1), 127.0, device=self._device)
            )
            limit[:, consumer.channels] = 127 * (RESIDUAL_STEPS + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs to continue as if never interrupted."""
        parameters = self.parameters
        window = [
            {name: (torch.tensor(it.sample), torch.tensor(it.largest)) for name, it in seen.items()}
            for seen in self._window
        ]
        return {
            "observations": self.observations,
            "window": window,
            "ranges": parameters.ranges if parameters else {},
            "factors": {
                name: torch.tensor(factor)
                for name, factor in (parameters.factors if parameters else {}).items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from an earlier `state_dict`."""
        self.observations = state["observations"]
        self._window.extend(
            {
                name: ActivationStatistics(sample.cpu().numpy(), largest.cpu().numpy())
                for name, (sample, largest) in seen.items()
            }
            for seen in state["window"]
        )
        if state["ranges"]:
            factors = {name: factor.cpu().numpy() for name, factor in state["factors"].items()}
            self.parameters = QuantisationParameters(factors, dict(state["ranges"]))
            self._update_scales(self.parameters)

    def observe(self, network: nn.Module, image1: Tensor, image2: Tensor) -> None:
        """Update the parameters with a batch of normalised images, (N, 3, H, W)."""
        with torch.no_grad(), observed_inputs(network, _SAMPLES) as parts:
            network(image1, image2)
        # A siamese layer is called once for each image.
        self._window.append({name: ActivationStatistics.merge(it) for name, it in parts.items()})
        statistics = {
            name: ActivationStatistics.merge([seen[name] for seen in self._window])
            for name in parts
        }
        chosen = choose_parameters(self._consumers, statistics, self._recipe)
        ranges = {name: chosen.ranges[name] for name in self._channels}
        chosen = QuantisationParameters(chosen.factors, ranges)
        self.observations += 1
        share = 1 / min(self.observations, _OBSERVATIONS)
        self.parameters = (self.parameters or chosen).interpolate(chosen, share)
        self._update_scales(self.parameters)

    def _update_scales(self, parameters: QuantisationParameters) -> None:
        for name, channels in self._channels.items():
            divisor = torch.from_numpy(
                input_divisor(name, channels, self._consumers, parameters.factors)
            ).to(self._device)
            self._divisors[name] = divisor
            scale = divisor.reshape(1, -1, 1, 1) * (parameters.ranges[name] / 127)
            if name in self._limits:
                scale = torch.where(self._limits[name] > 127, scale / RESIDUAL_STEPS, scale)
            # In place: attached hooks hold this tensor.
            self._scales.setdefault(name, scale.clone()).copy_(scale)

    def attach(self, network: nn.Module) -> ExitStack:
        """Round activations in this network until the returned stack is closed.

        Raises:
            ValueError: nothing was observed yet.
        """
        self._check_observed()
        layers = convolutions(network)
        hooks = ExitStack()
        for name in self._channels:
            hook = layers[name].register_forward_pre_hook(
                _RoundInput(self._scales[name], self._limits.get(name))
            )
            hooks.callback(hook.remove)
        return hooks

    @contextmanager
    def fake_quantised_weights(self, network: nn.Module) -> Iterator[None]:
        """Replace this network's weights by their rounded values until the context ends.

        Gradients computed inside apply to the original weights (straight-through estimator).

        Raises:
            ValueError: nothing was observed yet.
        """
        self._check_observed()
        layers = convolutions(network)
        originals: list[tuple[Tensor, Tensor]] = []
        for name in self._channels:
            weight: Tensor = layers[name].weight.data  # type: ignore[assignment]
            originals.append((weight, weight.clone()))
            weight.copy_(_rounded_weight(layers[name], self._divisors[name]))
        try:
            yield
        finally:
            for weight, original in originals:
                weight.copy_(original)

    def _check_observed(self) -> None:
        if self.parameters is None:
            raise ValueError("there are no ranges to round by; observe a batch first")


def _rounded_weight(layer: nn.Module, divisor: Tensor) -> Tensor:
    """Return a convolution's weight in 7 bits per output channel, as scaled for its inputs."""
    weight: Tensor = layer.weight.data  # type: ignore[assignment]
    # (out, in, H, W) of a Conv2d, (in, out, H, W) of a ConvTranspose2d.
    transposed = isinstance(layer, nn.ConvTranspose2d)
    divisor = divisor.reshape((-1, 1, 1, 1) if transposed else (1, -1, 1, 1))
    weight = weight * divisor
    step = weight_ranges(weight, int(transposed)) / SAFE_INT8_WEIGHT
    step = step.clamp(min=torch.finfo(weight.dtype).tiny)
    codes = (weight / step).round_().clamp_(-SAFE_INT8_WEIGHT, SAFE_INT8_WEIGHT)
    return codes.mul_(step).div_(divisor)


def layers_for_int8(network: nn.Module, recipe: Int8Recipe) -> list[str]:
    """Return the names of all convolutions that the recipe does not keep in float."""
    return [name for name in convolutions(network) if name not in recipe.float_layers]


def consumers_in(network: FlowNetwork) -> dict[str, list[Consumer]]:
    """Return by layer which convolutions read its output, and as which of their input channels.

    Every output channel of every convolution is replaced by a number that is unique in the network
    and has the fraction 1/2: LeakyReLU and concatenation preserve it, a sum of two does not.
    """
    numbers: dict[float, tuple[str, int]] = {}
    consumers: dict[str, list[Consumer]] = defaultdict(list)

    def find(layer: str, values: Tensor) -> None:
        found = (numbers.get(number, ("", 0)) for number in values[0, :, 0, 0].tolist())
        # The channels of one source are adjacent.
        for source, channels in groupby(enumerate(found), key=lambda item: item[1][0]):
            indices = [index for index, _ in channels]
            if source:
                consumers[source].append(Consumer(layer, slice(indices[0], indices[-1] + 1)))

    with torch.no_grad(), ExitStack() as hooks, recorded_inputs(network, find):
        for name, layer in convolutions(network).items():
            own = len(numbers) + 0.5 + torch.arange(layer.out_channels)  # type: ignore[call-overload]
            numbers |= {number: (name, index) for index, number in enumerate(own.tolist())}

            def replace(_: nn.Module, __: Any, output: Tensor, own: Tensor = own) -> Tensor:
                return own.to(output)[:, None, None].expand_as(output)

            hooks.callback(layer.register_forward_hook(replace).remove)
        image = next(network.parameters()).new_zeros(1, 3, network.divisor, network.divisor)
        network(image, image)
    return dict(consumers)


class _RoundInput:
    """Forward pre-hook that rounds a layer's input."""

    def __init__(self, scale: Tensor, limit: Tensor | None) -> None:
        self.scale, self.limit = scale, limit

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        return (_Round.apply(inputs[0], self.scale, self.limit),)


class _Round(torch.autograd.Function):
    """Round to multiples of a scale and saturate; no gradient passes where values saturate.

    ``limit`` is the largest code per channel; None: 127 for all.

    Computes in the input's dtype, mostly bfloat16: torch.fake_quantize_per_tensor_affine, which is
    fast in float32 only, takes a CPU three times as long.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, limit: Tensor | None) -> Tensor:
        scale = scale.to(values.dtype)  # a float32 scale per channel would promote everything
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
