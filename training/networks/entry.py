"""What deployment has to know about a network. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.bundle.schema import Refine
    from training.networks.layers import FlowNetwork


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted distance to the flow of fp32 PyTorch, on every verified pair.

    Attributes:
        mean_px: mean over the pixels of the distance between the two flow vectors.
        max_px: largest distance at any pixel.
        relative: mean distance divided by the mean length of the reference's flow vectors, so
            that a network with small flow does not pass for that reason alone.
    """

    mean_px: float
    max_px: float
    relative: float


@dataclass(frozen=True)
class Int8Recipe:
    """How a network's convolutions are quantised; docs/int8.md gives the reasons per network.

    Layers are named as the network's submodules.

    Attributes:
        decoder_inputs: layers that read encoder maps concatenated with decoder maps.
        scaled_layers: layers whose input channels get cross-layer scaling; includes
            ``decoder_inputs``.
        unclipped_layers: layers whose range covers every value seen in calibration.
        float_layers: layers that stay in float, because int8 would not make them faster.
        residual_layers: layers whose output is stored as int8 plus an int8 residual where it is
            concatenated.
    """

    decoder_inputs: tuple[str, ...] = ()
    scaled_layers: tuple[str, ...] = ()
    unclipped_layers: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    residual_layers: tuple[str, ...] = ()


def recipe_of_parts(parts: Mapping[str, Int8Recipe]) -> Int8Recipe:
    """Return the recipe of a network that consists of networks, by their attribute names."""

    def named(field_name: str) -> tuple[str, ...]:
        return tuple(
            f"{part}.{layer}"
            for part, recipe in parts.items()
            for layer in getattr(recipe, field_name)
        )

    return Int8Recipe(**{item.name: named(item.name) for item in fields(Int8Recipe)})


@dataclass(frozen=True)
class Port:
    """An input or output of an exported graph.

    Attributes:
        name: tensor name.
        axes: axis names, "" for a fixed axis; ``height / 4`` is a quarter of the image's height.
    """

    name: str
    axes: tuple[str, ...]


def image_port(name: str) -> Port:
    """Return a port at the images' resolution: (batch, height, width, channels)."""
    return Port(name, ("batch", "height", "width", ""))


def map_port(name: str, stride: int) -> Port:
    """Return a port for feature maps at 1/``stride`` of the images' resolution."""
    return Port(name, ("batch", f"height / {stride}", f"width / {stride}", ""))


IMAGES = (image_port("image1"), image_port("image2"))
FLOW = (image_port("flow"),)
# The input of `SiameseNetwork.features` and its outputs, which `SiameseNetwork.match` reads.
IMAGE = (image_port("image"),)
FEATURES = (map_port("skip", 4), map_port("features", 8))
MATCH = (map_port("skip", 4), map_port("features1", 8), map_port("features2", 8))


@dataclass(frozen=True)
class Recurrence:
    """The tensors between the parts of a `RecurrentNetwork`.

    Attributes:
        stride: of features, hidden state and flow.
        constants: what ``start`` hands to the updates besides the hidden state, by how the
            correlations are looked up; the first is the default.
    """

    stride: int
    constants: Mapping[str, tuple[Port, ...]]

    @property
    def state(self) -> tuple[Port, Port]:
        """Hidden state and flow."""
        return map_port("hidden", self.stride), map_port("state_flow", self.stride)


@dataclass(frozen=True)
class NetworkEntry:
    """One network.

    Attributes:
        build: creates the network with freshly initialised weights.
        tolerances: limits of the verification, by precision.
        int8: how it is quantised.
        fp32_islands: submodules that an fp16 graph computes in float32.
        has_correlation: whether it contains the correlation operator, for which TensorRT can use
            a plugin.
        recurrence: of a `RecurrentNetwork`.
        refine: how the engine refines its flow, unless a build says otherwise; None: not at all.
    """

    build: Callable[[], FlowNetwork]
    tolerances: Mapping[str, Tolerance]
    int8: Int8Recipe = field(default_factory=Int8Recipe)
    fp32_islands: tuple[str, ...] = ()
    has_correlation: bool = False
    recurrence: Recurrence | None = None
    refine: Refine | None = None
