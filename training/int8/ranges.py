"""Ranges for int8, and channels brought to like magnitudes: int8 has one scale for a whole layer.

A decoder joins what the encoder saw, of magnitude 3, with what came from below, of 15 and growing
with the motion. A scale that holds the latter leaves few steps for the former, and one that does
not makes large motion small. So the output of a layer is divided by a factor per channel, and the
weights of the layers that read it are multiplied by it, which changes no result: a LeakyReLU passes
a positive factor on (Nagel et al., arXiv 1906.04721).

Chosen here for both who train with int8's rounding and who deploy it, so that it is the same.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Of the largest magnitude seen in what a decoder joins, what int8 has room for. It grows with the
# motion: 0.6 made that of larger motion small, 1.3 all steps coarser.
JOINED_SHARE = 0.8
# Of the range of least error, what those have that are equalised besides: they see images, whose
# strong edges matter less than the weak ones' steps. A quarter to half of what int8 added to the
# error of flownets_slim, of two sets of weights, where little moves was due to the rest (by hand).
IMAGE_SHARE = 0.7

# Of int8's second digit, where a layer's output has one, so many steps are one of the first.
FINE_STEPS = 8

Channels = npt.NDArray[np.float32]  # (C,), a number for each


@dataclass(frozen=True)
class Observed:
    """What was seen of a layer's input.

    Attributes:
        sample: (C, n) values of each channel.
        largest: the largest magnitude in each channel.
    """

    sample: npt.NDArray[np.float32]
    largest: Channels

    @staticmethod
    def together(observed: "Sequence[Observed]") -> "Observed":
        """Return what was seen in all."""
        return Observed(
            np.concatenate([one.sample for one in observed], axis=1),
            np.max([one.largest for one in observed], axis=0),
        )


def sampling_step(count: int, wanted: int, width: int) -> int:
    """Return a step through maps one after the other that takes about ``wanted`` of all values.

    It has no factor in common with their width, or it would see some of their columns alone.
    """
    step = max(1, count // wanted)
    while math.gcd(step, width) > 1:
        step += 1
    return step


@dataclass(frozen=True)
class Read:
    """That a layer reads another's output.

    Attributes:
        reader: its name.
        channels: as which of its channels.
    """

    reader: str
    channels: slice


@dataclass(frozen=True)
class Equalisation:
    """What to change, and the ranges that then hold.

    Attributes:
        factors: by layer, what to divide the channels of its output by.
        ranges: by layer, the magnitude of its input that int8's 127 is to stand for.
    """

    factors: dict[str, Channels]
    ranges: dict[str, float]

    def towards(self, other: "Equalisation", share: float) -> "Equalisation":
        """Return what lies ``share``, 0 to 1, of the way to another of the same layers."""
        return Equalisation(
            {
                name: old + np.float32(share) * (other.factors[name] - old)
                for name, old in self.factors.items()
            },
            {name: old + share * (other.ranges[name] - old) for name, old in self.ranges.items()},
        )


def equalisation(
    readers: Mapping[str, Sequence[Read]],
    observed: Mapping[str, Observed],
    *,
    layers: Collection[str],
    joined: Collection[str],
    wide: Collection[str] = (),
) -> Equalisation:
    """Choose factors and ranges.

    A factor is the square root of a channel's largest magnitude: half-way between sparing small
    values from coarse steps and large ones from being clipped, as in SmoothQuant (arXiv
    2211.10438). It is relative to what is joined with the channel and stays as it is, if anything.

    Args:
        readers: by layer whose output can be divided, all that read it.
        observed: by layer, what enters it.
        layers: whose input is to be equalised; the outputs that these alone read are. They see the
            images, but for those that are joined.
        joined: those whose input grows with the motion: little of it is clipped.
        wide: those of which nothing is clipped that was observed.

    Raises:
        ValueError: a value that was observed is no finite number.
    """
    changed: dict[str, dict[str, slice]] = defaultdict(dict)  # by reader, channels of each source
    for source in divided(readers, layers):
        for read in readers[source]:
            changed[read.reader][source] = read.channels
    factors: dict[str, Channels] = {}
    for reader, sources in changed.items():
        largest = observed[reader].largest
        stays = np.ones(len(largest), bool)
        for channels in sources.values():
            stays[channels] = False
        usual = float(np.median(largest[stays])) if stays.any() else 0.0
        for source, channels in sources.items():
            relative = largest[channels] / (usual or 1.0)
            # A channel that never was anything gets no factor.
            factors[source] = np.sqrt(np.where(relative > 0, relative, 1), dtype=np.float32)
    ranges = {}
    for layer, seen in observed.items():
        divisor = divisor_of(layer, len(seen.largest), readers, factors)
        if layer in (*wide, *joined):
            share = 1.0 if layer in wide else JOINED_SHARE
            ranges[layer] = share * float((seen.largest / divisor).max()) or 1.0
        else:
            share = IMAGE_SHARE if layer in layers else 1.0
            try:
                ranges[layer] = share * least_error_range(seen.sample / divisor[:, np.newaxis])
            except ValueError as error:
                raise ValueError(f"what enters {layer}: {error}; train it anew") from error
    return Equalisation(factors, ranges)


def divided(readers: Mapping[str, Sequence[Read]], layers: Collection[str]) -> list[str]:
    """Return the layers whose outputs are divided: those that equalised layers alone read."""
    return [
        source for source, reads in readers.items() if all(read.reader in layers for read in reads)
    ]


def divisor_of(
    layer: str,
    channels: int,
    readers: Mapping[str, Sequence[Read]],
    factors: Mapping[str, Channels],
) -> Channels:
    """Return what the channels of a layer's input are divided by in consequence of the factors."""
    divisor = np.ones(channels, np.float32)
    for source, factor in factors.items():
        for read in readers[source]:
            if read.reader == layer:
                divisor[read.channels] = factor
    return divisor


def least_error_range(values: npt.NDArray[np.float32]) -> float:
    """Choose the magnitude for int8's 127 so that codes lie nearest to values, in the mean square.

    A wide range rounds all values more coarsely, a narrow one clips the large ones. (The mean of
    the pairs' maxima, which needs no search, clips what coarse levels say about large motion: 4 %
    of the end-point error on a pair with motion of 60 px.)

    Raises:
        ValueError: a value is no finite number.
    """
    values = np.abs(values.ravel())
    top = float(values.max())
    if not math.isfinite(top):
        raise ValueError("activations that are no finite numbers have no range for int8")
    if top == 0:
        return 1.0  # nothing ever passes here; any scale will do
    counts, edges = np.histogram(values, 2048, (0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    ranges = top * np.linspace(0.1, 1, 181)
    steps = ranges[:, None] / 127
    codes = np.minimum(np.rint(centres / steps), 127)
    return float(ranges[np.argmin(((centres - codes * steps) ** 2) @ counts)])
