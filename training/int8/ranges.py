"""Quantisation parameters: activation ranges and cross-layer scaling.

A decoder concatenates encoder maps, of magnitude 3, with decoder maps, of magnitude 15 and growing
with the motion. One int8 scale for both either leaves few steps for the encoder maps or saturates
on large motion. Cross-layer scaling divides the output channels of a layer by factors and
multiplies the weights of the layers that consume them by the same factors; the result is unchanged,
because LeakyReLU is positively homogeneous (Nagel et al., arXiv 1906.04721).

Training with fake quantisation and export choose the parameters with this code, so they agree.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.networks.entry import Int8Recipe

# Range of the decoder's inputs, relative to the largest magnitude seen in calibration. With 0.6
# large motion came out too small, with 1.3 every step was too coarse.
DECODER_SHARE = 0.8
# Range of the other scaled layers, relative to the range of least squared error: outliers saturate,
# small values get finer steps. This removed a quarter to a half of the error that int8 adds where
# little moves (flownets_slim, two sets of weights, one-off measurement; docs/int8.md).
SATURATED_SHARE = 0.7

# The step of the int8 residual, where an output has one, is the step divided by this.
RESIDUAL_STEPS = 8

Channels = npt.NDArray[np.float32]  # (C,), one number per channel


@dataclass(frozen=True)
class ActivationStatistics:
    """Statistics of a layer's input.

    Attributes:
        sample: (C, n) values of each channel.
        largest: largest magnitude in each channel.
    """

    sample: npt.NDArray[np.float32]
    largest: Channels

    @staticmethod
    def merge(parts: "Sequence[ActivationStatistics]") -> "ActivationStatistics":
        """Return the statistics of all parts together."""
        return ActivationStatistics(
            np.concatenate([part.sample for part in parts], axis=1),
            np.max([part.largest for part in parts], axis=0),
        )


def sampling_step(count: int, wanted: int, width: int) -> int:
    """Return a stride through flattened maps that samples about ``wanted`` of ``count`` values.

    The stride is coprime to the width of the maps; otherwise it would sample some columns only.
    """
    step = max(1, count // wanted)
    while math.gcd(step, width) > 1:
        step += 1
    return step


@dataclass(frozen=True)
class Consumer:
    """A layer that reads another layer's output.

    Attributes:
        layer: its name.
        channels: its input channels that hold the output.
    """

    layer: str
    channels: slice


Consumers = Mapping[str, Sequence[Consumer]]  # by name of the layer whose output they read


@dataclass(frozen=True)
class QuantisationParameters:
    """Cross-layer scaling factors, and the activation ranges that hold after scaling.

    Attributes:
        factors: by layer, divisors of its output channels.
        ranges: by layer, the magnitude of its input that the int8 code 127 stands for.
    """

    factors: dict[str, Channels]
    ranges: dict[str, float]

    def interpolate(
        self, other: "QuantisationParameters", share: float
    ) -> "QuantisationParameters":
        """Return parameters ``share`` (0 to 1) of the way to others of the same layers."""
        return QuantisationParameters(
            {
                name: old + np.float32(share) * (other.factors[name] - old)
                for name, old in self.factors.items()
            },
            {name: old + share * (other.ranges[name] - old) for name, old in self.ranges.items()},
        )


def choose_parameters(
    consumers: Consumers, statistics: Mapping[str, ActivationStatistics], recipe: Int8Recipe
) -> QuantisationParameters:
    """Choose scaling factors and ranges.

    A factor is the square root of a channel's largest magnitude, relative to the median of the
    unscaled channels that it is concatenated with. As in SmoothQuant (arXiv 2211.10438) the square
    root balances coarse steps for small values against saturation of large ones.

    Args:
        consumers: by layer whose output can be scaled, all layers that read it.
        statistics: by layer, of its input.
        recipe: which layers are scaled, and how their ranges are chosen.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    factors = _factors(consumers, statistics, recipe)
    ranges = {}
    for layer, found in statistics.items():
        divisor = input_divisor(layer, len(found.largest), consumers, factors)
        if layer in recipe.unclipped_layers or layer in recipe.decoder_inputs:
            share = 1.0 if layer in recipe.unclipped_layers else DECODER_SHARE
            ranges[layer] = share * float((found.largest / divisor).max()) or 1.0
        else:
            share = SATURATED_SHARE if layer in recipe.scaled_layers else 1.0
            try:
                ranges[layer] = share * mse_range(found.sample / divisor[:, np.newaxis])
            except ValueError as error:
                raise ValueError(f"input of {layer}: {error}; train the network again") from error
    return QuantisationParameters(factors, ranges)


def _factors(
    consumers: Consumers, statistics: Mapping[str, ActivationStatistics], recipe: Int8Recipe
) -> dict[str, Channels]:
    scaled: dict[str, dict[str, slice]] = defaultdict(dict)  # by consumer, channels by source
    for source in scaled_sources(consumers, recipe):
        for consumer in consumers[source]:
            scaled[consumer.layer][source] = consumer.channels
    factors: dict[str, Channels] = {}
    for layer, sources in scaled.items():
        largest = statistics[layer].largest
        unscaled = np.ones(len(largest), bool)
        for channels in sources.values():
            unscaled[channels] = False
        usual = float(np.median(largest[unscaled])) if unscaled.any() else 0.0
        for source, channels in sources.items():
            relative = largest[channels] / (usual or 1.0)
            # A channel that is always zero keeps the factor 1.
            factors[source] = np.sqrt(np.where(relative > 0, relative, 1), dtype=np.float32)
    return factors


def scaled_sources(consumers: Consumers, recipe: Int8Recipe) -> list[str]:
    """Return the layers whose outputs are scaled: all of their consumers are scaled layers."""
    return [
        source
        for source, found in consumers.items()
        if all(consumer.layer in recipe.scaled_layers for consumer in found)
    ]


def input_divisor(
    layer: str, channels: int, consumers: Consumers, factors: Mapping[str, Channels]
) -> Channels:
    """Return the divisors of a layer's input channels that follow from the factors."""
    divisor = np.ones(channels, np.float32)
    for source, factor in factors.items():
        for consumer in consumers[source]:
            if consumer.layer == layer:
                divisor[consumer.channels] = factor
    return divisor


def mse_range(values: npt.NDArray[np.float32]) -> float:
    """Return the magnitude for the int8 code 127 with the least mean squared rounding error.

    A wide range has coarse steps, a narrow one saturates. (The mean of the maxima of single pairs
    needs no search, but saturates in coarse levels on large motion: 4 % more end-point error on a
    pair with 60 px of motion.)

    Raises:
        ValueError: a value is NaN or infinite.
    """
    values = np.abs(values.ravel())
    top = float(values.max())
    if not math.isfinite(top):
        raise ValueError("activations are NaN or infinite")
    if top == 0:
        return 1.0  # any scale represents zero
    counts, edges = np.histogram(values, 2048, (0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    ranges = top * np.linspace(0.1, 1, 181)
    steps = ranges[:, None] / 127
    codes = np.minimum(np.rint(centres / steps), 127)
    return float(ranges[np.argmin(((centres - codes * steps) ** 2) @ counts)])
